package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/check"
	"github.com/causeway-net/causeway/kubectl-causeway/route"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

func (a *app) check() *cobra.Command {
	var o check.Options
	var out output
	c := &cobra.Command{
		Use: "check", Short: "Does it work? Start a pod on each node, and let them ask each other and all that a pod asks", Args: cobra.NoArgs,
		Long: "Start a pod on each node, in a namespace of its own, and let them ask each other, by every family: over TCP, with a packet as large as\n" +
			"their MTU that nobody may break up, through a Service, by its name, the API server, and hosts outside (--outside). The pods are taken away\n" +
			"at the end, however it ends. It needs the right to make namespaces, pods and Services, and to run commands in pods.",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.valid(); err != nil {
				return err
			}
			connection, err := a.connect()
			if err != nil {
				return err
			}
			if o.Image == "" {
				var agents appsv1.DaemonSet
				err := connection.Get(c.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "causeway-agent"}, &agents)
				if err == nil && len(agents.Spec.Template.Spec.Containers) == 0 {
					err = errors.New("the DaemonSet causeway-agent has no container")
				}
				if err != nil {
					return fmt.Errorf("find the agents' image, of which the pods are made (set it by --image): %w", err)
				}
				o.Image = agents.Spec.Template.Spec.Containers[0].Image
			}
			// Progress is for people, and not part of the answer.
			o.Say = func(sentence string) { fmt.Fprintln(a.o.Streams.ErrOut, sentence) }
			o.Follow = func(ctx context.Context, namespace, pod, target string) (string, error) {
				trace, err := (&route.Ask{}).Object(namespace+"/"+pod, target, namespace)
				if err != nil {
					return "", err
				}
				if err := runTrace(ctx, connection, trace, nobody); err != nil {
					return "", err
				}
				return trace.Status.End.Message, nil
			}
			report, err := check.Run(c.Context(), connection, o)
			if err != nil {
				return err
			}
			if err := out.print(a.o.Streams.Out, report, func(p *text.Page) { printCheck(p, report, out.wide()) }); err != nil {
				return err
			}
			if !report.Fine() {
				return errTrouble
			}
			return nil
		},
	}
	c.Flags().StringVar(&o.Image, "image", "", "image of the pods, with causeway-agent in it (default: that of the agents)")
	c.Flags().IntVar(&o.Sample, "sample", 10, "how many others each pod asks")
	c.Flags().StringArrayVar(&o.Outside, "outside", nil, "a host with its port, beyond the cluster, that pods shall reach")
	c.Flags().DurationVar(&o.Patience, "patience", 2*time.Minute, "how long pods may take to start")
	c.Flags().BoolVar(&o.Keep, "keep", false, "leave the pods there, to look at what fails")
	out.add(c)
	return c
}

// mostFailures is how many failures a person wants to read.
const mostFailures = 20

func printCheck(p *text.Page, r check.Report, wide bool) {
	var rows [][]text.Cell
	for _, l := range r.Lines() {
		failed := text.Cell{Text: fmt.Sprint(l.Failed)}
		if l.Failed > 0 {
			failed.Colour = text.Red
		}
		rows = append(rows, text.Row(l.Kind, l.Family, l.Passed, failed))
	}
	p.Table([]string{"TEST", "FAMILY", "PASSED", "FAILED"}, rows)
	for _, t := range r.Troubles {
		p.Printf("\n%s\n", p.Colour(text.Red, t))
	}
	shown, more := 0, 0
	for _, t := range r.Tests {
		switch {
		case t.Problem == "":
		case shown == mostFailures && !wide:
			more++
		default:
			if shown++; shown == 1 {
				p.Printf("\n")
			}
			p.Printf("%s\n", p.Colour(text.Red, fmt.Sprintf("%s, from a pod on %s to %s (%s): %s", t.Kind, t.From, t.To, t.Question.Target, t.Problem)))
		}
	}
	if more > 0 {
		p.Printf("%d more failures: -o wide shows all.\n", more)
	}
	for _, s := range r.Suspects() {
		p.Printf("\n%s\n", s)
	}
	if r.Trace != "" {
		p.Printf("\n%s\n", r.Trace)
	}
	if r.Fine() {
		p.Printf("\n%s\n", p.Colour(text.Green, fmt.Sprintf("All is well between %d nodes.", r.Nodes)))
	}
}
