package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// checkpointVersion changes with the form of what is saved. Files of another version are ignored.
const checkpointVersion = 2

// Identity says whose a checkpoint is. One of another node, boot or cluster is ignored.
type Identity struct {
	Node    string `json:"node"`
	Boot    string `json:"boot"`
	Cluster string `json:"cluster"`
}

// IdentityOf returns the identity of this node's checkpoints: the kernel's boot id tells a reboot, and the API server's
// address and certificate tell the cluster.
func IdentityOf(node string, config *rest.Config) (Identity, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("read the kernel's boot id: %w", err)
	}
	authority := config.CAData
	if len(authority) == 0 && config.CAFile != "" {
		if authority, err = os.ReadFile(config.CAFile); err != nil {
			return Identity{}, fmt.Errorf("read the API server's certificate authority: %w", err)
		}
	}
	sum := sha256.Sum256(append([]byte(config.Host+"\n"), authority...))
	return Identity{Node: node, Boot: strings.TrimSpace(string(boot)), Cluster: hex.EncodeToString(sum[:])}, nil
}

// File is one checkpoint on disk. It is a cache: it may be lost at any time.
type File struct {
	Path string
	Of   Identity
}

// envelope is the first line of the file. The rest is the content.
type envelope struct {
	Version int       `json:"version"`
	Of      Identity  `json:"of"`
	Saved   time.Time `json:"saved"`
	SHA256  string    `json:"sha256"`
}

// Save replaces the file in one step, so that a reader sees the old content or the new one.
func (f File) Save(content any, now time.Time) error {
	body, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", f.Path, err)
	}
	sum := sha256.Sum256(body)
	head, err := json.Marshal(envelope{Version: checkpointVersion, Of: f.Of, Saved: now, SHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", f.Path, err)
	}
	temporary := filepath.Join(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".new")
	if err := writeParts(temporary, append(head, '\n'), body); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", f.Path, err)
	}
	if err := os.Rename(temporary, f.Path); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", f.Path, err)
	}
	return nil
}

// writeParts writes a file. The parts are large, so they are not copied into one.
func writeParts(path string, parts ...[]byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	var failure error
	for _, part := range parts {
		if _, err := file.Write(part); err != nil {
			failure = err
			break
		}
	}
	return errors.Join(failure, file.Close())
}

// ErrNoCheckpoint says that there is no file, as after a reboot.
var ErrNoCheckpoint = errors.New("there is no checkpoint")

// Load reads the file into content, and returns when it was saved. The error says why a file can't be used.
func (f File) Load(content any) (time.Time, error) {
	raw, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, ErrNoCheckpoint
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read checkpoint %s: %w", f.Path, err)
	}
	first, body, _ := bytes.Cut(raw, []byte("\n"))
	var head envelope
	if err := json.Unmarshal(first, &head); err != nil {
		return time.Time{}, fmt.Errorf("checkpoint %s is damaged: its first line is no JSON: %w", f.Path, err)
	}
	sum := sha256.Sum256(body)
	switch {
	case head.Version != checkpointVersion:
		return time.Time{}, fmt.Errorf("checkpoint %s has version %d, this agent reads version %d", f.Path, head.Version, checkpointVersion)
	case head.Of.Node != f.Of.Node:
		return time.Time{}, fmt.Errorf("checkpoint %s is of node %q, not of %q", f.Path, head.Of.Node, f.Of.Node)
	case head.Of.Boot != f.Of.Boot:
		return time.Time{}, fmt.Errorf("checkpoint %s is from before the last reboot", f.Path)
	case head.Of.Cluster != f.Of.Cluster:
		return time.Time{}, fmt.Errorf("checkpoint %s is of another cluster", f.Path)
	case head.SHA256 != hex.EncodeToString(sum[:]):
		return time.Time{}, fmt.Errorf("checkpoint %s is damaged: its checksum is wrong", f.Path)
	}
	if err := json.Unmarshal(body, content); err != nil {
		return time.Time{}, fmt.Errorf("checkpoint %s is damaged: %w", f.Path, err)
	}
	return head.Saved, nil
}

// Keeper saves a checkpoint some time after it was woken. Several wakes make one write.
type Keeper struct {
	file  File
	log   logr.Logger
	read  func() any // what is to be saved; nil for nothing
	first chan struct{}

	writing sync.Mutex // one write at a time
	written uint64     // the last call of Save that a write has served
	result  error      // of that write

	mu      sync.Mutex
	asked   uint64    // calls of Save
	due     time.Time // zero when nothing is to be saved
	saved   time.Time
	failing bool
}

// NewKeeper returns a keeper that saves what read returns.
func NewKeeper(file File, read func() any, log logr.Logger) *Keeper {
	return &Keeper{file: file, read: read, log: log, first: make(chan struct{}, 1)}
}

// Wake asks for a write within some time.
func (k *Keeper) Wake(within time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := time.Now().Add(within)
	if k.due.IsZero() || due.Before(k.due) {
		k.due = due
		select {
		case k.first <- struct{}{}:
		default:
		}
	}
}

// Saved returns when the checkpoint was last written by this keeper.
func (k *Keeper) Saved() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.saved
}

// Run saves until the context ends, and once more then.
func (k *Keeper) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if k.isDue() {
				_ = k.Save()
			}
			return
		case <-k.first:
			timer.Reset(k.wait())
		case <-timer.C:
			if k.isDue() && k.wait() <= 0 && k.Save() != nil {
				k.Wake(time.Minute)
			}
		}
	}
}

func (k *Keeper) isDue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.due.IsZero()
}

func (k *Keeper) wait() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Until(k.due)
}

// Save writes the checkpoint now, with all that is known when it is called. Calls that come during a write share the next
// one. A file that can't be replaced is removed, since an old one may be wrong.
func (k *Keeper) Save() error {
	k.mu.Lock()
	k.asked++
	own := k.asked
	k.mu.Unlock()
	k.writing.Lock()
	defer k.writing.Unlock()
	if k.written >= own {
		return k.result
	}
	k.mu.Lock()
	serves := k.asked
	k.due = time.Time{}
	k.mu.Unlock()
	k.result = k.save()
	k.written = serves
	return k.result
}

func (k *Keeper) save() error {
	content := k.read()
	if content == nil {
		return nil
	}
	now := time.Now()
	err := k.file.Save(content, now)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.saved, k.failing = now, false
		return nil
	}
	if !k.failing {
		k.failing = true
		k.log.Error(err, "Can't save what the agent knows; it could not start again without the API server")
	}
	if remove := os.Remove(k.file.Path); remove != nil && !errors.Is(remove, fs.ErrNotExist) {
		return errors.Join(err, remove)
	}
	return err
}
