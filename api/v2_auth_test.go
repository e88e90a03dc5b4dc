package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/testkit"
)

// issuer is who makes the tokens of project 1's users, with keys at a JWKS address.
type issuer struct {
	*httptest.Server
	key   *ecdsa.PrivateKey
	rsa   *rsa.PrivateKey
	ed    ed25519.PrivateKey
	reads atomic.Int32
	down  atomic.Bool
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{}
	var err error
	i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	i.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	var public ed25519.PublicKey
	public, i.ed, err = ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text := base64.RawURLEncoding.EncodeToString
	point, err := i.key.PublicKey.Bytes()
	require.NoError(t, err)
	keys, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "use": "sig", "x": text(point[1:33]), "y": text(point[33:])},
		{"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": text(i.rsa.N.Bytes()), "e": text(big.NewInt(int64(i.rsa.E)).Bytes())},
		{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "use": "sig", "x": text(public)},
	}})
	require.NoError(t, err)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.reads.Add(1)
		if i.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(keys)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t testing.TB, method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	made := jwt.NewWithClaims(method, claims)
	made.Header["kid"] = kid
	signed, err := made.SignedString(key)
	require.NoError(t, err)
	return signed
}

// privateIssuers lets issuers be on this machine.
func privateIssuers(o *Options) { o.PrivateWebhooks = true }

// useIssuer lets tokens of the issuer in, and none of a secret.
func (s *shop) useIssuer(i *issuer) {
	testkit.Exec(s.t, s.db, "UPDATE projects SET jwt_secret = NULL, jwks_url = '"+i.URL+"' WHERE project_id = 1")
	s.server.projects.forget(1)
}

func good() jwt.MapClaims {
	return jwt.MapClaims{"sub": "12345", "exp": time.Now().Add(time.Hour).Unix(), "project_id": 1}
}

func without(claims ...string) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) {
		for _, claim := range claims {
			delete(c, claim)
		}
	}
}

func with1(claim string, value any) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) { c[claim] = value }
}

func TestV2Auth(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	s.putKey("dev-project", "server")
	testkit.Exec(t, s.db, "INSERT INTO projects (project_id, name, jwt_secret) VALUES (2, 'another', '"+jwtSecret+"')")
	basic := func(credentials string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
	}
	bearer := func(changes ...func(jwt.MapClaims)) string { return "Bearer " + token(t, "12345", changes...) }
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, good()).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	longer, err := jwt.NewWithClaims(jwt.SigningMethodHS512, good()).SignedString([]byte(jwtSecret))
	require.NoError(t, err)
	other, err := jwt.NewWithClaims(jwt.SigningMethodHS256, good()).SignedString([]byte("another-secret-0123456789-0123456789"))
	require.NoError(t, err)
	extended := jwt.NewWithClaims(jwt.SigningMethodHS256, good())
	extended.Header["crit"] = []string{"x"}
	critical, err := extended.SignedString([]byte(jwtSecret))
	require.NoError(t, err)
	parts := strings.Split(token(t, "12345"), ".")

	for name, test := range map[string]struct {
		authorization string
		code          int // 0: let in
	}{
		"nobody":                   {"", 0},
		"server":                   {basic("1:" + projectKey), 0},
		"user":                     {bearer(), 0},
		"project as a text":        {bearer(with1("project_id", "1")), 0},
		"lower case":               {"bearer " + token(t, "12345"), 0},
		"wrong key":                {basic("1:wrong"), 1020},
		"another project's id":     {basic("2:" + projectKey), 1020},
		"no id":                    {basic(":" + projectKey), 1020},
		"no colon":                 {basic(projectKey), 1020},
		"no base64":                {"Basic !!!", 1020},
		"empty Basic":              {"Basic ", 1020},
		"a key of another role":    {basic("1:" + keyOf("admin")), 1020},
		"dev's key":                {basic("1:dev-project"), 1020},
		"NUL":                      {basic("1:\x00"), 1020},
		"another project's token":  {bearer(with1("project_id", 2)), 1013},
		"no project":               {bearer(without("project_id")), 1013},
		"project as an object":     {bearer(with1("project_id", map[string]int{"id": 1})), 1013},
		"project as a fraction":    {bearer(with1("project_id", 1.5)), 1013},
		"no expiry":                {bearer(without("exp")), 1013},
		"expired":                  {bearer(with1("exp", time.Now().Add(-time.Minute).Unix())), 1013},
		"expired just now":         {bearer(with1("exp", time.Now().Add(-time.Second).Unix())), 1013},
		"expiry as a text":         {bearer(with1("exp", "soon")), 1013},
		"not yet":                  {bearer(with1("nbf", time.Now().Add(time.Hour).Unix())), 1013},
		"issued in the future":     {bearer(with1("iat", time.Now().Add(time.Hour).Unix())), 1013},
		"no subject":               {bearer(without("sub")), 1013},
		"a subject that is no id":  {bearer(with1("sub", "a b")), 1013},
		"a long subject":           {bearer(with1("sub", strings.Repeat("a", 65))), 1013},
		"a subject with NUL":       {bearer(with1("sub", "a\x00")), 1013},
		"no signature":             {"Bearer " + none, 1013},
		"HS512":                    {"Bearer " + longer, 1013},
		"an unknown extension":     {"Bearer " + critical, 1013},
		"another secret":           {"Bearer " + other, 1013},
		"no signature, HS256":      {"Bearer " + parts[0] + "." + parts[1] + ".", 1013},
		"another body":             {"Bearer " + parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"rich","exp":9999999999,"project_id":1}`)) + "." + parts[2], 1013},
		"garbage":                  {"Bearer a.b.c", 1013},
		"a token of no order":      {"Bearer garbage", 1013},
		"dots":                     {"Bearer ..", 1013},
		"too long":                 {"Bearer " + strings.Repeat("a", maxToken+1), 1013},
		"empty Bearer":             {"Bearer ", 1501},
		"another scheme":           {"Digest abc", 1501},
		"an admin's key":           {"Bearer " + keyOf("admin"), 1013},
		"only spaces":              {"Bearer    ", 1501},
		"another project's secret": {"Bearer " + token(t, "12345", with1("project_id", 2)), 1013},
	} {
		a := s.items("", header("Authorization", test.authorization))
		if test.code == 0 {
			require.Equal(t, 200, a.status, name)
			continue
		}
		require.Equal(t, []int{401, test.code}, []int{a.status, into[v2Error](t, a).ErrorCode}, name)
		require.NotEmpty(t, a.header.Get("WWW-Authenticate"), name)
	}
	require.Equal(t, 200, s.call("", "GET", "/api/v2/project/2/items", "", header("Authorization", bearer(with1("project_id", 2)))).status)
	require.Equal(t, 401, s.call("", "GET", "/api/v2/project/2/items", "", byServer()).status, "the key is project 1's")

	dev := newCatalog(t, func(o *Options) { o.Dev = true })
	dev.putKey("dev-project", "server")
	require.Equal(t, 200, dev.items("", header("Authorization", basic("1:dev-project"))).status)
}

// Every call of v2 refuses whom openapi.yaml does not list, and takes no broken credentials.
func TestV2AuthOfEveryCall(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	operations, err := operationsOf(testDoc())
	require.NoError(t, err)
	as := map[string][]with{asNobody: nil, asUser: {byUser(t, "12345")}, asServer: {byServer()}}
	fill := strings.NewReplacer(":project_id", "1", ":sku", "no-such", ":item_sku", "no-such", ":item_id", "1", ":external_id", "no-such", ":user_id", "no-such",
		":cart_id", "no-such", ":order_id", "1", ":virtual_currency_sku", "no-such")
	calls := 0
	for route, op := range operations {
		if len(op.auth) == 0 {
			continue
		}
		calls++
		method, path, _ := strings.Cut(route, " ")
		require.Equal(t, 401, s.call("", method, fill.Replace(path), "", header("Authorization", "Bearer a.b.c")).status, route)
		for who, by := range as {
			a := s.call("", method, fill.Replace(path), "", by...)
			require.Less(t, a.status, 500, route)
			if slices.Contains(op.auth, who) {
				require.NotContains(t, []int{401, 403}, a.status, "%s as %s: %s", route, who, a.body)
			} else {
				require.Contains(t, []int{401, 403}, a.status, "%s as %s", route, who)
			}
		}
	}
	require.NotZero(t, calls)
}

func TestV2IssuersKeys(t *testing.T) {
	t.Parallel()
	s, i := newCatalog(t, privateIssuers), newIssuer(t)
	s.useIssuer(i)
	pemOf := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	expired := good()
	expired["exp"] = time.Now().Add(-time.Hour).Unix()
	for name, test := range map[string]struct {
		token  string
		status int
	}{
		"ES256":                           {i.token(t, jwt.SigningMethodES256, "ec", i.key, good()), 200},
		"RS256":                           {i.token(t, jwt.SigningMethodRS256, "rsa", i.rsa, good()), 200},
		"EdDSA":                           {i.token(t, jwt.SigningMethodEdDSA, "ed", i.ed, good()), 200},
		"HS256 with the public RSA key":   {i.token(t, jwt.SigningMethodHS256, "rsa", pemOf(&i.rsa.PublicKey), good()), 401},
		"HS256 with the public EC key":    {i.token(t, jwt.SigningMethodHS256, "ec", pemOf(&i.key.PublicKey), good()), 401},
		"the secret of before":            {token(t, "12345"), 401},
		"another's key of the same kid":   {i.token(t, jwt.SigningMethodES256, "ec", stranger, good()), 401},
		"an unknown kid":                  {i.token(t, jwt.SigningMethodES256, "unknown", i.key, good()), 401},
		"one key's method, another's kid": {i.token(t, jwt.SigningMethodES256, "rsa", i.key, good()), 401},
		"expired":                         {i.token(t, jwt.SigningMethodES256, "ec", i.key, expired), 401},
		"PS256, which is not taken":       {i.token(t, jwt.SigningMethodPS256, "rsa", i.rsa, good()), 401},
	} {
		require.Equal(t, test.status, s.items("", header("Authorization", "Bearer "+test.token)).status, name)
	}
	require.LessOrEqual(t, i.reads.Load(), int32(2), "the keys are kept; one unknown key makes them be read once more")
}

// An admin of a project must not make us read what is only reachable from where we are.
func TestV2IssuersAreOnTheInternet(t *testing.T) {
	t.Parallel()
	s, i := newCatalog(t), newIssuer(t)
	for _, address := range []string{i.URL, "http://issuer.example/keys", "https://127.0.0.1/keys", "https://localhost/keys", "https://169.254.169.254/latest"} {
		require.Equal(t, "invalid_request", s.call("admin", http.MethodPatch, "/api/v1/admin/projects/1", `{"jwks_url": "`+address+`"}`).code(), address)
	}
	require.Equal(t, 200, s.call("admin", http.MethodPatch, "/api/v1/admin/projects/1", `{"jwks_url": "https://issuer.example/keys"}`).status)
	s.useIssuer(i) // as if it had been written down before
	require.Equal(t, 401, s.items("", header("Authorization", "Bearer "+i.token(t, jwt.SigningMethodES256, "ec", i.key, good()))).status)
	require.Zero(t, i.reads.Load())
}

// What an issuer's address leads on to, nobody has checked.
func TestV2IssuersDoNotLeadElsewhere(t *testing.T) {
	t.Parallel()
	s, i := newCatalog(t, privateIssuers), newIssuer(t)
	inside := i.URL
	around := httptest.NewServer(http.RedirectHandler(inside, http.StatusFound))
	t.Cleanup(around.Close)
	i.URL = around.URL
	s.useIssuer(i)
	require.Equal(t, 401, s.items("", header("Authorization", "Bearer "+i.token(t, jwt.SigningMethodES256, "ec", i.key, good()))).status)
	require.Zero(t, i.reads.Load())
}

// An issuer that is away makes tokens unknown, not errors, and whoever needs no token is served; a process
// that starts when it is back takes them.
func TestV2IssuerIsAway(t *testing.T) {
	t.Parallel()
	s, i := newCatalog(t, privateIssuers), newIssuer(t)
	s.useIssuer(i)
	i.down.Store(true)
	of := header("Authorization", "Bearer "+i.token(t, jwt.SigningMethodES256, "ec", i.key, good()))
	require.Equal(t, 401, s.items("", of).status)
	require.Equal(t, 200, s.items("").status)
	i.down.Store(false)
	fresh := newCatalog(t, privateIssuers)
	fresh.useIssuer(i)
	require.Equal(t, 200, fresh.items("", of).status)
}
