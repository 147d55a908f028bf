package scrape

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// ownValidity is how long a certificate of our own is good; a new one is made when half of that has passed.
	ownValidity = 90 * 24 * time.Hour
	// lookAgain is how often the files are read again: they are replaced before they run out.
	lookAgain = time.Minute
)

// certificates are the server's certificate over time.
type certificates struct {
	folder string
	now    func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	until   time.Time
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.current != nil && now.Before(c.until) {
		return c.current, nil
	}
	if c.folder != "" {
		read, err := tls.LoadX509KeyPair(filepath.Join(c.folder, "tls.crt"), filepath.Join(c.folder, "tls.key"))
		if err != nil && c.current == nil {
			return nil, fmt.Errorf("read the certificate for metrics: %w", err)
		}
		if err == nil {
			c.current = &read
		}
		c.until = now.Add(lookAgain)
		return c.current, nil
	}
	made, err := selfSigned(now)
	if err != nil {
		return nil, err
	}
	c.current, c.until = made, now.Add(ownValidity/2)
	return made, nil
}

func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for metrics: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for this machine's name: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ownValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for metrics: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
