package tools_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/machine"
)

var pictures = flag.Bool("pictures", false, "take the screenshots of docs/images anew")

// TestUI looks at `kubectl causeway ui` with a browser, as a person does.
func TestUI(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 6, Subnets: 3})
	l.Create(t, pool("default-v4", "10.211.0.0/16"))
	l.Create(t, &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.BGPConfigurationSpec{
		ASNumber: 64512, ListenPort: 179, NodeToNodeMesh: v1alpha1.NodeToNodeMesh{Enabled: true}}})
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	ui := startUI(t, l)
	b := openBrowser(t, l)

	t.Run("the cluster", func(t *testing.T) {
		b.do(t, chromedp.Navigate(ui.url), chromedp.WaitVisible(chromedp.CSS("#map svg")))
		b.await(t, "#status", "All is well.")
		b.await(t, "#map", "6 nodes in 3 subnets", "subnet 172.30.3.0/24", "BGP 5 of 5", "VXLAN tunnels")
		b.await(t, "#live", "live")
		if at, err := value(b, chromedp.Location()); err != nil || strings.Contains(at, "token") {
			t.Errorf("the page's address is %s (%v)", at, err)
		}
	})
	t.Run("changes come by themselves", func(t *testing.T) {
		as := int64(65001)
		peer := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "rack"}, Spec: v1alpha1.BGPPeerSpec{PeerIP: "172.30.1.1", ASNumber: &as,
			NodeSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/hostname": "node1"}}}}
		l.Create(t, peer)
		b.await(t, "#status", "The BGP session of", "with 172.30.1.1 (AS 65001, BGPPeer/rack) is down", "Configure BGP on the router")
		b.await(t, "#map", "BGP 0 of 1", "BGP 5 of 6")
		b.picture(t, "ui.png", "body")
		must(t, l.Client.Delete(t.Context(), peer))
		l.Create(t, pool("second", "10.212.0.0/24"))
		b.await(t, "#pools", "second", "10.212.0.0/24")
		b.await(t, "#status", "All is well.")
	})
	t.Run("a trace that is answered", func(t *testing.T) {
		b.trace(t, "pod-0", "pod-5", "")
		b.awaitTrace(t, "Answered at node node6", "node node1", "in VXLAN 172.30.1.11 → 172.30.3.16", "The answer: echo reply")
	})
	t.Run("a trace that fails", func(t *testing.T) {
		rule := "nft add table inet foreign; nft 'add chain inet foreign f { type filter hook forward priority 0; }'; nft add rule inet foreign f ip daddr " + pods[5].V4().String() + " drop"
		if out, err := l.Nodes[5].Run(t.Context(), "sh", "-ec", rule); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b.trace(t, "pod-0", "pod-5", "80")
		b.awaitTrace(t, "Dropped at node node6 (Firewall)", "table inet foreign, chain f: ip daddr")
		b.picture(t, "trace.png", "#trace svg")
		b.trace(t, "pod-0", "pod-9", "http")
		b.awaitTrace(t, "This can't be traced", "is no port")
		var list v1alpha1.PathTraceList
		must(t, l.Client.List(t.Context(), &list))
		if len(list.Items) > 0 {
			t.Errorf("%d PathTraces are left", len(list.Items))
		}
	})
	t.Run("somebody who may list nothing", func(t *testing.T) {
		guest := startUI(t, l, "--as=guest")
		b.do(t, chromedp.Navigate(guest.url), chromedp.WaitVisible(chromedp.CSS("#map svg")))
		b.await(t, "#status", "The ippools could not be read", `User "guest" cannot list resource`, "Ask for the right to list them.")
		b.trace(t, "pod-0", "pod-5", "")
		b.awaitTrace(t, "The trace failed", `User "guest" cannot create resource "pathtraces"`)
		b.allWell(t)
		guest.stop(t)
		b.await(t, "#live", "kubectl causeway ui has ended")
	})
	ui.stop(t)
}

// ui is a `kubectl causeway ui` that runs.
type ui struct {
	command *lab.Cmd
	url     string
}

func startUI(t *testing.T, l *lab.Lab, args ...string) *ui {
	t.Helper()
	out := &machine.Buffer{}
	u := &ui{command: l.Command(t.Context(), append([]string{l.Bin("kubectl"), "causeway", "ui"}, args...)...)}
	u.command.Stdout, u.command.Stderr = out, out
	u.command.Env = []string{"KUBECONFIG=" + l.AdminKubeconfig(), "PATH=" + l.Bin("") + ":" + os.Getenv("PATH"), "HOME=" + l.Dir}
	must(t, u.command.Start())
	link := regexp.MustCompile(`http://127\.0\.0\.1:\d+/\?token=\S+`)
	l.Eventually(t, lab.Settle, "kubectl causeway ui prints its link", func() error {
		u.url = link.FindString(out.String())
		if u.url == "" {
			return fmt.Errorf("it prints %q", out.String())
		}
		return nil
	})
	return u
}

// stop presses Ctrl-C.
func (u *ui) stop(t *testing.T) {
	t.Helper()
	must(t, u.command.Signal(syscall.SIGINT))
	if err := u.command.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// trace fills in the form.
func (b *browser) trace(t *testing.T, from, to, port string) {
	t.Helper()
	b.do(t, chromedp.WaitEnabled(chromedp.CSS("#ask button")), chromedp.Reset(chromedp.CSS("#ask")))
	for name, text := range map[string]string{"from": from, "to": to, "port": port} {
		if text != "" {
			b.do(t, chromedp.SetValue(chromedp.CSS("#ask input[name="+name+"]"), text))
		}
	}
	b.do(t, chromedp.SendKeys(chromedp.CSS("#ask input[name=from]"), kb.Enter))
}

// awaitTrace waits until a trace has ended, and the page says all of these texts about it.
func (b *browser) awaitTrace(t *testing.T, texts ...string) {
	t.Helper()
	b.await(t, "#trace", texts...)
	b.do(t, chromedp.WaitEnabled(chromedp.CSS("#ask button")))
	b.await(t, "#trace", texts...)
}

// picture keeps a screenshot of an element for docs, if the flag asks for it.
func (b *browser) picture(t *testing.T, name, element string) {
	t.Helper()
	if !*pictures {
		return
	}
	png, err := value(b, chromedp.Screenshot(chromedp.CSS(element)))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.lab.Repo, "docs/images", name), png, 0o644))
}
