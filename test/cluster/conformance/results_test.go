package conformance

import (
	"reflect"
	"regexp"
	"testing"
)

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="6" failures="1">
  <testsuite name="Kubernetes e2e suite" tests="6">
    <testcase name="[SynchronizedBeforeSuite]" status="passed" time="1"></testcase>
    <testcase name="[It] [sig-network] Services should serve a basic endpoint from pods [Conformance]" status="passed" time="9"></testcase>
    <testcase name="[It] [sig-network] DNS should provide DNS for the cluster [Conformance]" status="failed" time="9"><failure message="no answer">x</failure></testcase>
    <testcase name="[It] [sig-network] Services should be skipped" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
    <testcase name="[It] [sig-network] Services on two nodes" status="skipped" time="0"><skipped message="skipped - Requires at least 2 nodes (not 1)"></skipped></testcase>
    <testcase name="[It] [sig-network] HostPort validates [Conformance]" status="timedout" time="9"><error message="too slow">x</error></testcase>
    <testcase name="[SynchronizedAfterSuite]" status="panicked" time="0"><error message="oh">x</error></testcase>
  </testsuite>
</testsuites>`

func TestResults(t *testing.T) {
	got, err := parse([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	want := Results{
		Passed: []string{"[It] [sig-network] Services should serve a basic endpoint from pods [Conformance]"},
		Failed: []string{
			"[It] [sig-network] DNS should provide DNS for the cluster [Conformance]", "[It] [sig-network] HostPort validates [Conformance]", "[SynchronizedAfterSuite]",
		},
		Skipped: []string{"[It] [sig-network] Services on two nodes: Requires at least 2 nodes (not 1)"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	said := "FAILED  " + want.Failed[0] + "\nFAILED  " + want.Failed[1] + "\nFAILED  " + want.Failed[2] + "\nSKIPPED " + want.Skipped[0] + "\n1 passed, 3 failed, 1 skipped"
	if got.String() != said {
		t.Errorf("it says %q", got)
	}
	if _, err := parse([]byte("<testsuites><testsuite>")); err == nil {
		t.Error("half a report is taken for a whole one")
	}
}

func TestSelection(t *testing.T) {
	focus, skip := regexp.MustCompile(Focus), regexp.MustCompile(skip)
	for name, runs := range map[string]bool{
		"[sig-network] Services should serve a basic endpoint from pods [Conformance]":                                           true,
		"[sig-network] [Feature:IPv6DualStack] should create service with ipv6 cluster ip":                                       true,
		"[sig-network] Services should prevent NodePort collisions":                                                              true,
		"[sig-network] Services should support externalTrafficPolicy=Local for type=NodePort":                                    true,
		"[sig-network] [Feature:IPv6DualStack] Granular Checks should function for pod-Service: sctp [Feature:SCTPConnectivity]": false,
		"[sig-network] LoadBalancers ExternalTrafficPolicy: Local [Feature:LoadBalancer] should work from pods":                  false,
		"[sig-network] Networking Granular Checks: Services should update nodePort: http [Slow]":                                 false,
		"[sig-apps] Deployment should run the lifecycle [Conformance]":                                                           false,
	} {
		if got := focus.MatchString(name) && !skip.MatchString(name); got != runs {
			t.Errorf("%s: runs is %v", name, got)
		}
	}
}
