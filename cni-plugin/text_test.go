package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMember(t *testing.T) {
	for _, c := range []struct{ object, want string }{
		{`{"socket":"/run/x"}`, "/run/x"},
		{"\n{ \"a\" : [ {\"socket\":\"inner\"} ], \"socket\"\t: \"outer\" }", "outer"},
		{`{"a":"socket","b":{"socket":1}}`, ""},
		{`{"socket":"\/run\/x"}`, "/run/x"},
		{`{"a\"b":"}","socket":"x"}`, "x"},
		{`{"socket": 25}`, "25"},
		{`{"socket": true}`, ""},
		{`{"socket":`, ""},
		{`{"socket`, ""},
		{`["socket"]`, ""},
		{``, ""},
	} {
		if got := member([]byte(c.object), "socket"); got != c.want {
			t.Errorf("%s has %q, want %q", c.object, got, c.want)
		}
	}
}

func FuzzMember(f *testing.F) {
	f.Add(`{"name":"x","socket":"/run/x"}`)
	f.Add(`{"a":[{"socket":"y"}],"socket":7}`)
	f.Fuzz(func(t *testing.T, object string) {
		got := member([]byte(object), "socket")
		var whole map[string]any
		if strings.Contains(object, `\`) || strings.Count(object, `"socket"`) != 1 || json.Unmarshal([]byte(object), &whole) != nil {
			return
		}
		if want, ok := whole["socket"].(string); ok && strings.ToValidUTF8(got, "") != strings.ToValidUTF8(strings.ReplaceAll(want, "\ufffd", ""), "") {
			t.Errorf("%s has %q, want %q", object, got, want)
		}
	})
}

func FuzzFailureIsJSON(f *testing.F) {
	f.Add("1.1.0", `connect to /run/"x": no such file`)
	f.Add("", "\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, version, details string) {
		var got struct {
			CNIVersion, Msg, Details string
			Code                     uint
		}
		text := failure(version, 11, "message", details)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if got.CNIVersion != string([]rune(version)) || got.Code != 11 || got.Msg != "message" || got.Details != string([]rune(details)) {
			t.Fatalf("%s is read as %+v", text, got)
		}
	})
}
