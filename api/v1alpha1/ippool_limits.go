package v1alpha1

// NamespaceLimit returns how many addresses of the pool a namespace may have. It reports false where there is no limit.
func (s *IPPoolSpec) NamespaceLimit(namespace string) (int, bool) {
	most, limited := 0, false
	for _, l := range s.NamespaceLimits {
		switch l.Namespace {
		case namespace:
			return int(l.Addresses), true
		case OtherNamespaces:
			most, limited = int(l.Addresses), true
		}
	}
	return most, limited
}
