package convert

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields are the fields of an object that nobody has asked for yet. What is left at the end has no counterpart.
type fields struct {
	object string
	path   string
	left   map[string]any
	// remarks are sentences; problems are sentences about what must not be left out.
	remarks  []string
	problems []string
}

func (f *fields) remark(format string, args ...any) {
	f.remarks = append(f.remarks, fmt.Sprintf(format, args...))
}

func (f *fields) problem(format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// rest remarks on what is left.
func (f *fields) rest() {
	for _, name := range slices.Sorted(maps.Keys(f.left)) {
		f.remark("%s%s has no counterpart.", f.path, name)
	}
}

// take returns a field, once.
func take[T any](f *fields, name string) (T, bool) {
	value, there := f.left[name]
	delete(f.left, name)
	out, ok := value.(T)
	if there && !ok && value != nil {
		f.problem("%s%s can't be read: it is %v.", f.path, name, value)
	}
	return out, there && ok
}

func (f *fields) text(name string) string {
	s, _ := take[string](f, name)
	return s
}

func (f *fields) boolean(name string) bool {
	b, _ := take[bool](f, name)
	return b
}

// number reads JSON's numbers.
func (f *fields) number(name string) (int64, bool) {
	n, ok := take[float64](f, name)
	return int64(n), ok
}

func (f *fields) int32(name string) *int32 {
	n, ok := f.number(name)
	if !ok {
		return nil
	}
	out := int32(n)
	return &out
}

func (f *fields) texts(name string) []string {
	list, _ := take[[]any](f, name)
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// inner returns the fields of a part, whose sentences count as this one's.
func (f *fields) inner(name string) *fields {
	m, ok := take[map[string]any](f, name)
	if !ok {
		return nil
	}
	return &fields{object: f.object, path: f.path + name + ".", left: m}
}

// list returns the fields of each element of a list.
func (f *fields) list(name string) []*fields {
	all, _ := take[[]any](f, name)
	var out []*fields
	for i, v := range all {
		m, ok := v.(map[string]any)
		if !ok {
			f.problem("%s%s[%d] can't be read.", f.path, name, i)
			continue
		}
		out = append(out, &fields{object: f.object, path: fmt.Sprintf("%s%s[%d].", f.path, name, i), left: m})
	}
	return out
}

// join adds what a part has found out. Where strict, all that is left of it is a problem.
func (f *fields) join(part *fields, strict bool) {
	if strict {
		for _, name := range slices.Sorted(maps.Keys(part.left)) {
			part.problem("%s%s has no counterpart.", part.path, name)
		}
	} else {
		part.rest()
	}
	f.remarks, f.problems = append(f.remarks, part.remarks...), append(f.problems, part.problems...)
}

func (f *fields) duration(name string) *metav1.Duration {
	s := f.text(name)
	if s == "" {
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		f.problem("%s%s is no duration: %s.", f.path, name, s)
		return nil
	}
	return &metav1.Duration{Duration: d}
}

// as reads an AS number: 64512, "64512" or "1.10" (RFC 5396, asdot).
func as(value any) (int64, error) {
	text := fmt.Sprint(value)
	if n, ok := value.(float64); ok {
		text = strconv.FormatInt(int64(n), 10)
	}
	high, low, dotted := strings.Cut(text, ".")
	if !dotted {
		high, low = "0", text
	}
	bits := 32
	if dotted {
		bits = 16
	}
	h, err := strconv.ParseUint(high, 10, 16)
	l, err2 := strconv.ParseUint(low, 10, bits)
	if err != nil || err2 != nil {
		return 0, fmt.Errorf("%q is no AS number", text)
	}
	return int64(h<<16 + l), nil
}

func (f *fields) as(name string) *int64 {
	value, ok := f.left[name]
	delete(f.left, name)
	if !ok || value == nil {
		return nil
	}
	n, err := as(value)
	if err != nil {
		f.problem("%s%s: %v.", f.path, name, err)
		return nil
	}
	return &n
}

// selector reads one of Calico's selectors.
func (f *fields) selector(name string) *metav1.LabelSelector {
	text := f.text(name)
	s, err := Selector(text)
	if err != nil {
		f.problem("%s%s: %v.", f.path, name, err)
	}
	return s
}
