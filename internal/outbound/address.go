package outbound

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

const maxURL = 2048

// CheckURL says what is wrong with an address; empty when nothing is. A name is resolved when it is called,
// and what it resolves to is held to PublicAddress then; the check here only tells admins of it sooner. With
// allowPrivate, which is for development, any address goes, and plain HTTP.
func CheckURL(address string, allowPrivate bool) string {
	parsed, err := url.Parse(address)
	switch {
	case len(address) > maxURL:
		return "at most 2048 characters"
	case err != nil || parsed.Host == "" || parsed.Hostname() == "" || parsed.Opaque != "":
		return "a URL such as https://game.example/path"
	case parsed.Scheme != "https" && (!allowPrivate || parsed.Scheme != "http"):
		return "must begin with https://"
	case parsed.User != nil:
		return "must not hold a user or a password"
	case parsed.Fragment != "":
		return "must not have a fragment"
	case !allowPrivate && !publicHost(parsed.Hostname()):
		return "must be reachable on the internet; addresses of this machine and of private networks are not called"
	default:
		return ""
	}
}

// publicHost is true for all names that it can't judge without asking DNS.
func publicHost(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return PublicAddress(addr)
	}
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && !strings.HasSuffix(host, ".internal") && !strings.HasSuffix(host, ".local")
}

// notPublic are the special-purpose blocks of IANA (RFC 6890 and its successors) that lead, or could lead,
// anywhere but to a server on the internet.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23",     // among them Teredo, which holds an IPv4 address
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4, which holds an IPv4 address
	"3fff::/20",     // documentation
)

// global is what IPv6 has given out; loopback, mapped IPv4, NAT64, unique local, link-local and multicast are
// outside it.
var global = netip.MustParsePrefix("2000::/3")

func prefixes(blocks ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(blocks))
	for i, block := range blocks {
		all[i] = netip.MustParsePrefix(block)
	}
	return all
}

// PublicAddress says whether an address belongs to the internet at large. IPv4 within IPv6 does not: it would
// be a way around the list.
func PublicAddress(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" || (addr.Is6() && !global.Contains(addr)) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(block netip.Prefix) bool { return block.Contains(addr) })
}
