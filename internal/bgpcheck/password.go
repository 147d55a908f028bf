package bgpcheck

import (
	"fmt"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// MaxPassword is TCP_MD5SIG_MAXKEYLEN of linux/tcp.h.
const MaxPassword = 80

// Secrets are the lengths of the values in Secrets of the namespace causeway-bgp, by the Secret's name and the key.
type Secrets map[string]map[string]int

// Password returns what is wrong with the password that a session is to have, or nil. Without it there is no session: it
// would run unprotected.
func Password(ref *v1alpha1.BGPPassword, secrets Secrets) *Problem {
	if ref == nil {
		return nil
	}
	name, key := ref.SecretKeyRef.Name, ref.SecretKeyRef.Key
	secret := fmt.Sprintf("Secret %s/%s", v1alpha1.BGPNamespace, name)
	keys, found := secrets[name]
	if !found {
		return &Problem{SecretNotFound, fmt.Sprintf("The password is missing: create %s with the key %s.", secret, quote(key))}
	}
	length, found := keys[key]
	switch {
	case !found:
		return &Problem{SecretKeyNotFound, fmt.Sprintf("The password is missing: add the key %s to %s.", quote(key), secret)}
	case length == 0:
		return &Problem{PasswordEmpty, fmt.Sprintf("The password is empty: put one in key %s of %s.", quote(key), secret)}
	case length > MaxPassword:
		return &Problem{PasswordTooLong, fmt.Sprintf("The password has %d bytes, and TCP MD5 takes at most %d: shorten it in key %s of %s.",
			length, MaxPassword, quote(key), secret)}
	}
	return nil
}
