package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Serve says its name to everybody who connects to the address by TCP, and sends every UDP packet back unbroken. It returns
// when the context ends.
func Serve(ctx context.Context, address, name string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	packets, err := (&net.ListenConfig{Control: unbroken}).ListenPacket(ctx, "udp", listener.Addr().String())
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), listener.Close())
	}
	stop := context.AfterFunc(ctx, func() {
		_ = listener.Close() // Accept and ReadFrom say so.
		_ = packets.Close()
	})
	defer stop()
	go echo(packets)
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept a connection: %w", err)
		}
		go func() {
			_, _ = fmt.Fprintln(conn, name) // Whoever does not wait for it does not want it.
			_ = conn.Close()
		}()
	}
}

// echo ends with its socket.
func echo(packets net.PacketConn) {
	const largest = 65536
	buffer := make([]byte, largest)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = packets.WriteTo(buffer[:n], from) // The other side tries again.
		}
	}
}
