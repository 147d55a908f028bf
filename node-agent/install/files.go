package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// newPrefix begins the names of files that are not whole yet. The dot hides them from runtimes.
const newPrefix = ".causeway-new-"

// Plugin copies the CNI plugin into the runtime's folder. A runtime that starts it meanwhile gets the old one or the new
// one, never half a file.
func Plugin(source, folder string) error {
	from, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("open the CNI plugin of this image: %w", err)
	}
	defer from.Close() //nolint:errcheck // read only
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of CNI plugins: %w", err)
	}
	path := filepath.Join(folder, PluginFile)
	if same(path, source) {
		return nil
	}
	return replace(path, 0o755, func(f *os.File) error {
		_, err := io.Copy(f, from)
		return err
	})
}

func same(a, b string) bool {
	one, err := os.ReadFile(a)
	if err != nil {
		return false
	}
	other, err := os.ReadFile(b)
	info, statErr := os.Stat(a)
	return err == nil && statErr == nil && info.Mode().Perm() == 0o755 && bytes.Equal(one, other)
}

// replace writes a file beside the old one, brings it to the disk and renames it into place.
func replace(path string, mode fs.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), newPrefix+"*")
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	err = write(f)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it may be gone; the first error counts
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// removeUnfinished removes what an interrupted replace has left.
func removeUnfinished(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, newPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for unfinished files in %s: %w", folder, err)
	}
	for _, file := range files {
		err = errors.Join(err, remove(file))
	}
	return err
}
