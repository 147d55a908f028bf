package speaker

import (
	"context"
	"encoding/gob"
	"fmt"
	"time"
)

// Stop ends the speaker that listens on a socket, and waits until it is gone. It is no error if there is none.
func Stop(ctx context.Context, socket string) error {
	conn, decoder, _, err := greet(ctx, socket)
	if err != nil {
		return nil
	}
	defer conn.Close() //nolint:errcheck // the process ends
	const patience = 10 * time.Second
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("stop the BGP speaker: %w", err)
	}
	if err := gob.NewEncoder(conn).Encode(Request{Stop: true}); err != nil {
		return fmt.Errorf("stop the BGP speaker: %w", err)
	}
	for {
		var ignored Event
		if decoder.Decode(&ignored) != nil {
			return nil
		}
	}
}
