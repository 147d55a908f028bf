// Package bundle packs what somebody needs who is to help from afar. It takes texts by their names, and writes an archive.
// Objects lose what may hold a secret on the way in.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// File is one file of a bundle.
type File struct {
	Name string
	Text []byte
}

// Write packs files into a compressed archive, in a folder of its own, sorted by name.
func Write(w io.Writer, folder string, at time.Time, files []File) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	for _, f := range files {
		if err := archive.WriteHeader(&tar.Header{Name: folder + "/" + f.Name, Mode: 0o644, Size: int64(len(f.Text)), ModTime: at}); err != nil {
			return fmt.Errorf("pack %s: %w", f.Name, err)
		}
		if _, err := archive.Write(f.Text); err != nil {
			return fmt.Errorf("pack %s: %w", f.Name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("finish the archive: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("finish the archive: %w", err)
	}
	return nil
}

// hidden stands for what was taken away.
const hidden = "(hidden)"

// Objects writes a list as YAML, without what may hold a secret: annotations but our own, and values of environment variables.
func Objects(name string, list runtime.Object) (File, error) {
	items, err := meta.ExtractList(list)
	if err != nil {
		return File{}, fmt.Errorf("read the list of %s: %w", name, err)
	}
	var out strings.Builder
	for _, item := range items {
		o := item.DeepCopyObject()
		if err := clean(o); err != nil {
			return File{}, fmt.Errorf("clean an object of %s: %w", name, err)
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			return File{}, fmt.Errorf("write an object of %s: %w", name, err)
		}
		out.WriteString("---\n" + string(text))
	}
	return File{Name: name + ".yaml", Text: []byte(out.String())}, nil
}

// ours begins the names of the annotations that matter to us.
const ours = "causeway.dev/"

func clean(o runtime.Object) error {
	m, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	m.SetManagedFields(nil)
	hide(m.GetAnnotations())
	switch o := o.(type) {
	case *corev1.Pod:
		cleanPod(&o.Spec)
	case *appsv1.DaemonSet:
		cleanTemplate(&o.Spec.Template)
	case *appsv1.Deployment:
		cleanTemplate(&o.Spec.Template)
	}
	return nil
}

func cleanTemplate(t *corev1.PodTemplateSpec) {
	hide(t.Annotations)
	cleanPod(&t.Spec)
}

func hide(annotations map[string]string) {
	for key := range annotations {
		if !strings.HasPrefix(key, ours) {
			annotations[key] = hidden
		}
	}
}

func cleanPod(s *corev1.PodSpec) {
	for _, containers := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range containers {
			for j := range containers[i].Env {
				if containers[i].Env[j].Value != "" {
					containers[i].Env[j].Value = hidden
				}
			}
		}
	}
}
