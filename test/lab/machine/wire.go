package machine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Frame kinds. A connection carries one request; everything after it is about that request's command.
const (
	frameRequest byte = iota
	frameIn
	frameInEnd
	frameSignal
	frameOut
	frameErr
	frameStarted
	frameExit
)

const maxFrame = 1 << 20

type request struct {
	// Alive asks for nothing but an answer.
	Alive  bool   `json:"alive,omitempty"`
	Add    *Node  `json:"add,omitempty"`
	Remove string `json:"remove,omitempty"`
	Run    *Spec  `json:"run,omitempty"`
}

type outcome struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

type frames struct {
	rw io.ReadWriter
	mu sync.Mutex
}

func (f *frames) write(kind byte, body []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	packet := make([]byte, 5, 5+len(body))
	packet[0] = kind
	binary.BigEndian.PutUint32(packet[1:], uint32(len(body)))
	_, err := f.rw.Write(append(packet, body...))
	return err
}

func (f *frames) writeJSON(kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return f.write(kind, body)
}

func (f *frames) read() (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(f.rw, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes is too long", size)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(f.rw, body)
	return head[0], body, err
}

// stream writes what it is given as frames of one kind.
type stream struct {
	f    *frames
	kind byte
}

func (s stream) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame/2)]
		if err := s.f.write(s.kind, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}
