// Package command is the commands of kubectl-causeway. Each reads its flags, looks at the cluster, lets a pure package decide
// what there is to say, and prints that. Only the commands that say so write anything.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// Exit codes, for scripts.
const (
	// ExitFine means that the command did its work and found nothing wrong.
	ExitFine = 0
	// ExitTrouble means that the command did its work and found something wrong.
	ExitTrouble = 1
	// ExitFailed means that the command could not do its work.
	ExitFailed = 2
)

// errTrouble says that what was printed is not all well.
var errTrouble = errors.New("something is wrong")

// Options are what the program gets from outside.
type Options struct {
	Streams genericiooptions.IOStreams
	// Agents reaches the nodes' agents. Default: in their pods, as kubectl exec does.
	Agents windows.Agents
}

// Run runs a command and returns its exit code.
func Run(o Options, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The API client logs what its errors say too.
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	c := New(o)
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	switch {
	case err == nil:
		return ExitFine
	case errors.Is(err, errTrouble):
		return ExitTrouble
	}
	fmt.Fprintln(o.Streams.ErrOut, "kubectl causeway:", err)
	return ExitFailed
}

// New returns the command with all its commands.
func New(o Options) *cobra.Command {
	a := &app{o: o, flags: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:           "kubectl-causeway",
		Short:         "Show and check Causeway, the network of the cluster's pods",
		Long:          "Show and check Causeway, the network of the cluster's pods.\n\nExit codes: 0 all is well, 1 something is wrong, 2 the command could not do its work.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl causeway"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(o.Streams.In)
	root.SetOut(o.Streams.Out)
	root.SetErr(o.Streams.ErrOut)
	a.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(a.status(), a.check(), a.trace(), a.ipam(), a.bgp(), a.window("plan"), a.window("book"), a.picture(), a.ui(), a.diag(), a.convert(),
		a.uninstall(), a.version())
	return root
}

// app is what all commands share.
type app struct {
	o     Options
	flags *genericclioptions.ConfigFlags
}

func (a *app) connect() (*objects.Connection, error) {
	config, err := a.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return objects.Connect(config)
}

// agents reaches the agents of a cluster that was looked at with the kind SystemPods.
func (a *app) agents(connection *objects.Connection, c *objects.Cluster) windows.Agents {
	if a.o.Agents != nil {
		return a.o.Agents
	}
	return windows.NewPods(connection.Config, c)
}

// look connects and lists kinds.
func (a *app) look(ctx context.Context, kinds ...objects.Kind) (*objects.Cluster, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	return c.Look(ctx, kinds...)
}

var formats = []cobra.Completion{"table", "wide", "json", "yaml"}

// output is the flag -o.
type output struct {
	format string
	// more are formats of this command alone.
	more []cobra.Completion
}

func (f *output) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.format, "output", "o", "table", f.list())
	// The only way to fail is a flag that does not exist.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(f.all(), cobra.ShellCompDirectiveNoFileComp))
}

func (f *output) all() []cobra.Completion { return slices.Concat(formats, f.more) }

// list is how people enumerate the formats.
func (f *output) list() string {
	all := f.all()
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

func (f *output) wide() bool { return f.format == "wide" }

// print writes a value as JSON or YAML, or a table for people.
func (f *output) print(w io.Writer, value any, table func(p *text.Page)) error {
	switch f.format {
	case "table", "wide":
		p := text.NewPage(w, colours(w))
		table(p)
		return p.Err()
	case "json":
		out, err := json.MarshalIndent(value, "", "  ")
		return write(w, append(out, '\n'), err)
	case "yaml":
		out, err := yaml.Marshal(value)
		return write(w, out, err)
	}
	return f.valid()
}

func (f *output) valid() error {
	if slices.Contains(f.all(), f.format) {
		return nil
	}
	return fmt.Errorf("there is no output format %q: use %s", f.format, f.list())
}

func write(w io.Writer, out []byte, err error) error {
	if err == nil {
		_, err = w.Write(out)
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// colours says whether somebody looks at the output: colours are for a terminal only, and nobody gets any who sets NO_COLOR.
func colours(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}

// nodeNames completes the name of a node.
func (a *app) nodeNames(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cluster, err := a.look(c.Context(), objects.NodeNetworks)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []cobra.Completion
	for i := range cluster.Networks.Items {
		out = append(out, cluster.Networks.Items[i].Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
