package scrape

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// allowedFor and refusedFor are how long the API server's answer about a token is believed.
	allowedFor = time.Minute
	refusedFor = 5 * time.Second
	// maxVerdicts bounds the memory that strangers can take with made-up tokens.
	maxVerdicts = 256
	askTimeout  = 10 * time.Second
)

// judge asks the API server who a token belongs to, and whether they may read metrics. controller-runtime's filter does the
// same, but it brings k8s.io/apiserver along: 20 MB more in a program that runs on every node.
type judge struct {
	api client.Client
	now func() time.Time

	mu       sync.Mutex
	verdicts map[[sha256.Size]byte]verdict
}

type verdict struct {
	status int
	until  time.Time
}

func newJudge(config *rest.Config) (*judge, error) {
	scheme := runtime.NewScheme()
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, add := range []func(*runtime.Scheme) error{authenticationv1.AddToScheme, authorizationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register the kinds of access reviews: %w", err)
		}
	}
	mapper.Add(authenticationv1.SchemeGroupVersion.WithKind("TokenReview"), meta.RESTScopeRoot)
	mapper.Add(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"), meta.RESTScopeRoot)
	api, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make a client for access reviews: %w", err)
	}
	return &judge{api: api, now: time.Now, verdicts: map[[sha256.Size]byte]verdict{}}, nil
}

// filter lets through whom the API server lets.
func (j *judge) filter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || token == "" {
			http.Error(w, "Send a bearer token of Kubernetes.", http.StatusUnauthorized)
			return
		}
		status, err := j.verdict(r.Context(), token, r.URL.Path)
		switch {
		case err != nil:
			http.Error(w, "The API server can't be asked about this token: "+err.Error(), http.StatusServiceUnavailable)
		case status == http.StatusUnauthorized:
			http.Error(w, "Kubernetes does not know this token.", status)
		case status == http.StatusForbidden:
			http.Error(w, "The owner of this token may not get "+r.URL.Path+"; bind the ClusterRole causeway-metrics-reader.", status)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (j *judge) verdict(ctx context.Context, token, path string) (int, error) {
	key := sha256.Sum256([]byte(token + "\x00" + path))
	j.mu.Lock()
	known, ok := j.verdicts[key]
	j.mu.Unlock()
	now := j.now()
	if ok && now.Before(known.until) {
		return known.status, nil
	}
	status, err := j.ask(ctx, token, path)
	if err != nil {
		return 0, err
	}
	believed := refusedFor
	if status == http.StatusOK {
		believed = allowedFor
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.verdicts) >= maxVerdicts {
		clear(j.verdicts)
	}
	j.verdicts[key] = verdict{status, now.Add(believed)}
	return status, nil
}

func (j *judge) ask(ctx context.Context, token, path string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := j.api.Create(ctx, review); err != nil {
		return 0, fmt.Errorf("review a token: %w", err)
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := review.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}}
	if err := j.api.Create(ctx, access); err != nil {
		return 0, fmt.Errorf("review the access of %s: %w", user.Username, err)
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
