package vm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// beat is the time between two questions whether the machine is alive.
	beat = 2 * time.Second
	// silence is how long a machine may take to answer before it is given up: longer than the 20 s after which a kernel says by
	// itself that it is stuck, and much longer than a busy machine keeps an emulated one waiting.
	silence = 40 * time.Second
)

// watch gives the machine up when it ends or falls silent.
func (v *VM) watch(ctx context.Context) {
	err := waitForSilence(ctx, v.done, v.Alive)
	if err == nil {
		return
	}
	_ = v.cmd.Process.Kill() // It may have ended.
	<-v.done
	err = fmt.Errorf("the virtual machine of the nodes was lost: %w; the end of its console:\n%s", errors.Join(err, v.err), lastWords(v.dir))
	v.GiveUp(err)
	v.lost <- err
}

// waitForSilence returns nil when the context ends, and an error when the machine has ended or was silent for too long.
func waitForSilence(ctx context.Context, ended <-chan struct{}, alive func(context.Context) error) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return errors.New("it ended by itself")
		case <-tick.C:
		}
		err := ask(ctx, ended, answered.Add(silence), alive)
		switch {
		case err == nil:
			answered = time.Now()
		case ctx.Err() == nil && time.Since(answered) >= silence:
			return fmt.Errorf("it did not answer for %s: %w", silence, err)
		}
	}
}

// ask stops asking at the deadline, or when the machine ends.
func ask(ctx context.Context, ended <-chan struct{}, deadline time.Time, alive func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return alive(ctx)
}
