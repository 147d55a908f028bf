package tools_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/causeway-net/causeway/test/lab"
)

// browser is a headless Chromium with one page, and what went wrong there.
type browser struct {
	lab *lab.Lab
	ctx context.Context

	mu     sync.Mutex
	wrongs []string
}

// openBrowser starts Chromium. When the test ends, its processes and its profile must be gone.
func openBrowser(t *testing.T, l *lab.Lab) *browser {
	t.Helper()
	profile := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.UserDataDir(profile),
		// Its sandbox is not for root, and /dev/shm is small in a container.
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1280, 900))
	allocated, free := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocated)
	b := &browser{lab: l, ctx: ctx}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("end Chromium: %v", err)
		}
		stop()
		free()
		chromedp.FromContext(ctx).Allocator.Wait()
		l.Eventually(t, lab.Settle, "Chromium's processes end", func() error { return noneWith(profile) })
	})
	// The first thing that is done with a context starts the browser.
	must(t, chromedp.Do(ctx))
	must(t, chromedp.Listen(ctx, b.note))
	return b
}

// noneWith is nil when no process has the text in its command line.
func noneWith(text string) error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), text) {
			return fmt.Errorf("%s: %q", file, line)
		}
	}
	return err
}

// note keeps what a person would see in red in the browser's console.
func (b *browser) note(event any) {
	wrong := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		wrong = fmt.Sprintf("exception: %+v", e.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		wrong = fmt.Sprintf("console %s: %v", e.Type, e.Args)
	case *log.EventEntryAdded:
		wrong = fmt.Sprintf("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *network.EventLoadingFailed:
		// Chromium says of a fetch whose body a script reads as a stream that it was cancelled, although the script came to its end.
		// One that was lost on the way is an exception there, and the page says so.
		if !e.Canceled {
			wrong = fmt.Sprintf("request failed: %s %s", e.Type, e.ErrorText)
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			wrong = fmt.Sprintf("%s: %d", e.Response.URL, e.Response.Status)
		}
	}
	if wrong != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wrongs = append(b.wrongs, wrong)
	}
}

// allWell fails the test if anything went wrong in the browser so far.
func (b *browser) allWell(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.wrongs) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(b.wrongs, "\n"))
	}
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, lab.Settle)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// value runs an action that returns something.
func value[T any](b *browser, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, lab.Settle)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// await waits until an element of the page says all of these texts.
func (b *browser) await(t *testing.T, element string, texts ...string) {
	t.Helper()
	b.lab.Eventually(t, lab.Settle, fmt.Sprintf("%s says %q", element, texts), func() error {
		got, err := value(b, chromedp.TextContent(chromedp.CSS(element)))
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(got, text) {
				return fmt.Errorf("it does not say %q, but %q", text, got)
			}
		}
		return nil
	})
}
