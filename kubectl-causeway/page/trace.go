package page

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
	"github.com/causeway-net/causeway/kubectl-causeway/route"
)

// mostForm is more than the form's fields can have.
const mostForm = 8 << 10

// trace runs the trace that the form asks for. Each line of the answer is a JSON string: the picture as it is now.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	send := func(part template.HTML) {
		text, err := json.Marshal(part)
		if err != nil {
			return
		}
		// If the browser has gone, the request's context ends, and the trace with it.
		_, _ = w.Write(append(text, '\n'))
		_ = http.NewResponseController(w).Flush()
	}
	r.Body = http.MaxBytesReader(w, r.Body, mostForm)
	ask := route.Ask{Protocol: r.PostFormValue("protocol")}
	to := withPort(strings.TrimSpace(r.PostFormValue("to")), strings.TrimSpace(r.PostFormValue("port")))
	trace, err := ask.Object(strings.TrimSpace(r.PostFormValue("from")), to, s.o.Namespace)
	if err != nil {
		send(render("trouble", fmt.Sprintf("This can't be traced: %v.", err)))
		return
	}
	last := template.HTML("")
	err = s.o.Trace(r.Context(), trace, func(t *v1alpha1.PathTrace) {
		last = template.HTML(picture.Trace(t)) //nolint:gosec // the picture escapes what it writes
		send(last)
	})
	if err != nil {
		send(render("trouble", fmt.Sprintf("The trace failed: %v.", err)) + last)
	}
}

// withPort puts a port to a destination that has none.
func withPort(to, port string) string {
	if port == "" {
		return to
	}
	if a, err := netip.ParseAddr(to); err == nil && a.Is6() {
		to = "[" + to + "]"
	}
	return to + ":" + port
}
