package tools_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// The manifest for krew names the archive that was built, by its digest.
func TestKrew(t *testing.T) {
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), "../../../kubectl-causeway/krew.sh", "v0.0.7", dir)
	c.Env = append(os.Environ(), "PLATFORMS=linux/amd64")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("krew.sh: %v: %s", err, out)
	}
	var manifest struct {
		Spec struct {
			Version   string `json:"version"`
			Platforms []struct {
				SHA256 string `json:"sha256"`
				Bin    string `json:"bin"`
			} `json:"platforms"`
		} `json:"spec"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "causeway.yaml"))
	must(t, err)
	must(t, yaml.Unmarshal(text, &manifest))
	archive, err := os.ReadFile(filepath.Join(dir, "kubectl-causeway_linux_amd64.tar.gz"))
	must(t, err)
	sum := sha256.Sum256(archive)
	p := manifest.Spec.Platforms
	if manifest.Spec.Version != "v0.0.7" || len(p) != 1 || p[0].SHA256 != hex.EncodeToString(sum[:]) || p[0].Bin != "kubectl-causeway" {
		t.Errorf("the manifest says %+v", manifest)
	}
}
