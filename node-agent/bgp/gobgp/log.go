package gobgp

import (
	"context"
	"log/slog"
	"strings"

	"github.com/osrg/gobgp/v3/pkg/log"
)

// logger lets GoBGP write to our log, from Warn upwards: what it says below that is in the status already.
type logger struct{ to *slog.Logger }

func (l *logger) write(level slog.Level, msg string, fields log.Fields) {
	args := make([]any, 0, 2*len(fields))
	for k, v := range fields {
		args = append(args, k, v)
	}
	l.to.Log(context.Background(), level, "GoBGP: "+msg, args...)
}

func (l *logger) Panic(msg string, fields log.Fields) {
	l.write(slog.LevelError, msg, fields)
	panic("GoBGP: " + msg)
}

func (l *logger) Fatal(msg string, fields log.Fields) {
	l.write(slog.LevelError, msg, fields)
	panic("GoBGP: " + msg)
}

// Warn leaves out that a route that a filter refused was withdrawn: GoBGP never had it, and nothing is wrong.
func (l *logger) Warn(msg string, fields log.Fields) {
	if !strings.HasPrefix(msg, "No matching path for withdraw found") {
		l.write(slog.LevelWarn, msg, fields)
	}
}

func (l *logger) Error(msg string, fields log.Fields) { l.write(slog.LevelError, msg, fields) }
func (l *logger) Info(string, log.Fields)             {}
func (l *logger) Debug(string, log.Fields)            {}
func (l *logger) SetLevel(log.LogLevel)               {}
func (l *logger) GetLevel() log.LogLevel              { return log.WarnLevel }
