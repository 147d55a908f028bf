// Package chart_test installs, upgrades, rolls back and uninstalls the chart with the real helm against the real API server.
// The test plays what a cluster has besides: the controllers of Jobs and DaemonSets, kubelets, the garbage collector.
package chart_test

import (
	"os"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
