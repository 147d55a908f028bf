package agent

import (
	"context"
	"testing"
)

func TestTheSpeakerHasOneOwner(t *testing.T) {
	for inContainer, want := range map[bool]int{false: 1, true: 0} {
		ctx, cancel := context.WithCancel(t.Context())
		started := 0
		cancel()
		keepSpeaker(inContainer, func(context.Context) { started++ })(ctx)
		if started != want {
			t.Errorf("a speaker in a container: %v; the agent started %d", inContainer, started)
		}
	}
}
