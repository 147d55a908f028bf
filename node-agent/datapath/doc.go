// Package datapath is the loop that keeps a node's kernel as the plan wants it. API objects, pods and learned routes come
// in from neighbours that it declares itself; it plans, applies, and reports what the kernel shows and what it refuses. It
// does kernel work only: no call of it waits for the API server or for the speaker.
package datapath
