// Package convert turns the configuration of other networks into Causeway's objects. It takes the text of their manifests and
// returns objects, with a sentence for everything that has no counterpart. It does no I/O.
//
// What would mean something else without a part that can't be translated is left out: a pool without its selector would
// serve everybody, and a filter without one of its rules would let routes through.
package convert

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Result is what came of a conversion.
type Result struct {
	Objects []client.Object
	Remarks []Remark
}

// Remark is about something that has no counterpart, or a somewhat different one.
type Remark struct {
	// Object is "Kind/name" of the object that was read.
	Object string
	// Message is a sentence.
	Message string
	// LeftOut says that there is no object for it in the result.
	LeftOut bool
}

// LeftOut says whether an object that was read has none in the result.
func (r *Result) LeftOut() bool { return len(r.missing()) > 0 }

// missing are the names of objects that were read and have none in the result.
func (r *Result) missing() []string {
	var out []string
	for _, m := range r.Remarks {
		if m.LeftOut && !slices.Contains(out, m.Object) {
			out = append(out, m.Object)
		}
	}
	return out
}

// Summary is what people read beside the manifest.
func (r *Result) Summary() string {
	out := count(len(r.Objects), "object was", "objects were") + " written"
	if missing := r.missing(); len(missing) > 0 {
		out += "; left out: " + strings.Join(missing, ", ")
	}
	if n := len(r.Remarks); n > 0 {
		out += ". Read the " + count(n, "remark", "remarks") + " in the comments at the top of the manifest"
	}
	return out + "."
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (r *Result) remark(object, format string, args ...any) {
	r.Remarks = append(r.Remarks, Remark{Object: object, Message: fmt.Sprintf(format, args...)})
}

// add keeps an object, unless it is the counterpart of something that can't be translated faithfully.
func (r *Result) add(f *fields, o client.Object) {
	f.rest()
	for _, problem := range f.problems {
		r.Remarks = append(r.Remarks, Remark{Object: f.object, Message: problem + " The object is left out, since without this it would mean something else.", LeftOut: true})
	}
	if len(f.problems) > 0 {
		return
	}
	for _, remark := range f.remarks {
		r.remark(f.object, "%s", remark)
	}
	r.Objects = append(r.Objects, o)
}

func (r *Result) leaveOut(object, format string, args ...any) {
	r.Remarks = append(r.Remarks, Remark{Object: object, Message: fmt.Sprintf(format, args...), LeftOut: true})
}

// YAML writes the objects as a manifest for kubectl apply, with the remarks as comments in front.
func (r *Result) YAML() ([]byte, error) {
	var out bytes.Buffer
	for _, m := range r.Remarks {
		fmt.Fprintf(&out, "# %s: %s\n", m.Object, m.Message)
	}
	for _, o := range r.Objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("write %s as YAML: %w", o.GetName(), err)
		}
		out.WriteString("---\n" + withoutStatus(string(text)))
	}
	return out.Bytes(), nil
}

// withoutStatus takes away the status, which is the last part of each object, and what Go writes of empty metadata.
func withoutStatus(text string) string {
	text, _, _ = strings.Cut(text, "\nstatus:")
	return strings.TrimRight(strings.ReplaceAll(text, "  creationTimestamp: null\n", ""), "\n") + "\n"
}

func meta(kind, name string) (metav1.TypeMeta, metav1.ObjectMeta) {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}, metav1.ObjectMeta{Name: name}
}
