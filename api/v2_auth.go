package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/outbound"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Who may make a call of /api/v2, as x-auth lists them in openapi.yaml.
const (
	asUser   = "user"   // a user's token (JWT)
	asServer = "server" // Basic project_id:api_key
	asOrder  = "order"  // the payment token of an order, as its user
	asNobody = "nobody" // no Authorization at all
)

// caller is who makes a call of /api/v2.
type caller struct {
	as      string
	project postgres.Project
	userID  string    // of a user, or of the user of an order
	orderID int64     // of an order's token
	until   time.Time // likewise: when it stops to act as the user
}

const (
	projectKnownFor = 10 * time.Second // how long an edit of a project may take to show
	tokenLeeway     = 30 * time.Second // of the issuer's clock: a token may be from the near future
	maxToken        = 8 << 10
	issuerTimeout   = 5 * time.Second  // of reading an issuer's keys
	issuerPause     = 30 * time.Second // between two readings because of an unknown key
	maxIssuerKeys   = 1 << 20          // bytes
	// paymentTokenLife is how long after its order a payment token acts as the user; it is seen in addresses
	// of pages. Its order it reads for ever.
	paymentTokenLife = 24 * time.Hour
)

// projects remembers projects, and the keys of those who issue their users' tokens.
type projects struct {
	db    *postgres.DB
	clock func() time.Time
	known *lru.Cache[int32, knownProject]
	users *lru.Cache[string, struct{}] // who is in the database

	mu      sync.Mutex
	keys    map[string]func() (keyfunc.Keyfunc, error) // by JWKS address
	issuers *http.Client                               // an address of theirs is an admin's word: it must not lead into our own network
	stop    context.Context                            // ends the refreshing of keys
}

type knownProject struct {
	project postgres.Project
	until   time.Time
}

func newProjects(ctx context.Context, db *postgres.DB, clock func() time.Time, privateIssuers bool) (*projects, error) {
	known, err := lru.New[int32, knownProject](1024)
	if err != nil {
		return nil, err
	}
	users, err := lru.New[string, struct{}](16_384)
	if err != nil {
		return nil, err
	}
	return &projects{db: db, clock: clock, known: known, users: users, keys: map[string]func() (keyfunc.Keyfunc, error){},
		issuers: outbound.NewClient(privateIssuers, maxIssuerKeys), stop: ctx}, nil
}

func (p *projects) get(ctx context.Context, id int32) (postgres.Project, error) {
	now := p.clock()
	if known, ok := p.known.Get(id); ok && now.Before(known.until) {
		return known.project, nil
	}
	project, err := p.db.GetProject(ctx, id)
	if err == nil {
		p.known.Add(id, knownProject{project, now.Add(projectKnownFor)})
	}
	return project, err
}

// forget makes this process see an edit at once.
func (p *projects) forget(id int32) { p.known.Remove(id) }

var (
	errNoAuthorization = checkout.Refuse(checkout.AuthorizationMissing, "send an Authorization header")
	errWrongBasic      = checkout.Refuse(checkout.WrongCredentials, "send Basic project_id:api_key of this project")
	errWrongToken      = checkout.Refuse(checkout.UnknownToken, "send a token of this project's user, with sub (a user's id), exp and project_id, that has not expired")
	errOldPaymentToken = checkout.Refuse(checkout.UnknownToken, "the payment token is more than 24 hours old: it is good for its order only, send a token of the user")
	errNoProject       = checkout.Refuse(checkout.ProjectNotFound, "there is no such project")
)

// authorizeV2 finds out who calls, and lets those through that openapi.yaml lists for the call.
func (s *Server) authorizeV2(c echo.Context, call *call) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.options.RequestTimeout)
	defer cancel()
	id, err := strconv.ParseInt(c.Param("project_id"), 10, 32)
	if err != nil || id <= 0 {
		return errNoProject
	}
	project, err := s.projects.get(ctx, int32(id))
	if errors.Is(err, postgres.ErrNotFound) {
		return errNoProject
	}
	if err != nil {
		return err
	}
	caller, err := s.callerOf(ctx, project, c.Request().Header.Get(echo.HeaderAuthorization))
	if err != nil {
		return err
	}
	if !slices.Contains(call.operation.auth, caller.as) {
		if caller.as == asNobody {
			return errNoAuthorization
		}
		return checkout.Refuse(checkout.UnknownToken, "the call is for "+strings.Join(call.operation.auth, ", ")+", not for "+caller.as)
	}
	if caller.as == asOrder && c.Param("order_id") == "" && !s.options.Clock().Before(caller.until) {
		return errOldPaymentToken
	}
	call.caller = caller
	call.key = postgres.APIKey{ProjectID: project.ProjectID, KeyID: caller.as + "/" + caller.userID, Role: caller.as}
	if caller.userID == "" {
		return nil
	}
	return s.projects.ensureUser(ctx, project.ProjectID, caller.userID)
}

// ensureUser makes a user whom a token names. Users are never deleted, so that who was seen is not asked for again.
func (p *projects) ensureUser(ctx context.Context, projectID int32, userID string) error {
	if _, seen := p.users.Get(userID); seen {
		return nil
	}
	err := p.db.EnsureUser(ctx, projectID, userID, p.clock())
	if err == nil {
		p.users.Add(userID, struct{}{})
	}
	return err
}

func (s *Server) callerOf(ctx context.Context, project postgres.Project, authorization string) (caller, error) {
	scheme, credentials, _ := strings.Cut(authorization, " ")
	credentials = strings.TrimSpace(credentials)
	switch {
	case authorization == "":
		return caller{as: asNobody, project: project}, nil
	case len(credentials) > maxToken:
		return caller{}, errWrongToken
	case strings.EqualFold(scheme, "Basic"):
		return s.server(ctx, project, credentials)
	case !strings.EqualFold(scheme, "Bearer") || credentials == "":
		return caller{}, checkout.Refuse(checkout.CredentialsMissing, "send Authorization: Bearer <token> or Basic")
	case strings.Count(credentials, ".") == 2:
		userID, err := s.projects.userOf(ctx, project, credentials)
		return caller{as: asUser, project: project, userID: userID}, err
	default:
		return s.orderOf(ctx, project, credentials)
	}
}

// server is the project's own server, by Basic project_id:api_key.
func (s *Server) server(ctx context.Context, project postgres.Project, credentials string) (caller, error) {
	id, key, ok := parseBasic(credentials)
	if !ok || id != strconv.Itoa(int(project.ProjectID)) {
		return caller{}, errWrongBasic
	}
	found, err := s.keys.find(ctx, key)
	var refused *failure
	switch {
	case errors.As(err, &refused) && refused.code == ProblemCodeUnauthorized:
		return caller{}, errWrongBasic
	case err != nil:
		return caller{}, err
	case found.Role != "server" || found.ProjectID != project.ProjectID:
		return caller{}, errWrongBasic
	}
	return caller{as: asServer, project: project}, nil
}

// orderOf is whoever has the payment token of an order.
func (s *Server) orderOf(ctx context.Context, project postgres.Project, token string) (caller, error) {
	hash := sha256.Sum256([]byte(token))
	order, err := s.options.DB.FindOrderOfToken(ctx, project.ProjectID, hash[:])
	if errors.Is(err, postgres.ErrNotFound) {
		return caller{}, errWrongToken
	}
	return caller{
		as:      asOrder,
		project: project,
		userID:  order.UserID,
		orderID: order.OrderID,
		until:   order.CreatedAt.Add(paymentTokenLife),
	}, err
}

// userClaims are what a user's token must say: sub, exp and the project.
type userClaims struct {
	jwt.RegisteredClaims
	ProjectID json.Number `json:"project_id"`
}

// userOf is the user whom a token names, if the project vouches for it.
func (p *projects) userOf(ctx context.Context, project postgres.Project, token string) (string, error) {
	var claims userClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) { return p.keyOf(ctx, project, t) },
		jwt.WithValidMethods([]string{"HS256", "RS256", "ES256", "EdDSA"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(tokenLeeway), jwt.WithTimeFunc(p.clock))
	expired := err == nil && !p.clock().Before(claims.ExpiresAt.Time) // the leeway is for the issuer's clock, not for tokens that are over
	if err != nil || expired || claims.ProjectID.String() != strconv.Itoa(int(project.ProjectID)) || !userIDPattern.MatchString(claims.Subject) {
		return "", errWrongToken
	}
	return claims.Subject, nil
}

var errNoKey = errors.New("the project has no key for this token")

// keyOf is the key of a token's method: a token can't choose to be checked by a public key as if it were a secret.
func (p *projects) keyOf(ctx context.Context, project postgres.Project, t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical {
		return nil, errNoKey // RFC 7515, 4.1.11: there is no extension that we understand
	}
	switch {
	case t.Method.Alg() == "HS256" && project.JWTSecret != "":
		return []byte(project.JWTSecret), nil
	case t.Method.Alg() != "HS256" && project.JWKSURL != "":
		keys, err := p.keysAt(project.JWKSURL)
		if err != nil {
			return nil, err
		}
		return keys.KeyfuncCtx(ctx)(t)
	default:
		return nil, errNoKey
	}
}

// keysAt keeps the keys of an issuer, which are refreshed every hour and when an unknown one is asked for.
// Only who asks for the same issuer waits for its first answer; one that does not answer is asked again, a
// while later.
func (p *projects) keysAt(address string) (keyfunc.Keyfunc, error) {
	p.mu.Lock()
	keys, ok := p.keys[address]
	if !ok {
		keys = sync.OnceValues(func() (keyfunc.Keyfunc, error) {
			return keyfunc.NewDefaultOverrideCtx(p.stop, []string{address}, keyfunc.Override{
				Client:            p.issuers,
				HTTPTimeout:       issuerTimeout,
				RateLimitWaitMax:  time.Second,
				RefreshUnknownKID: rate.NewLimiter(rate.Every(issuerPause), 1),
			})
		})
		p.keys[address] = keys
	}
	p.mu.Unlock()
	found, err := keys()
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", address, err)
	}
	return found, nil
}

// userIDPattern is that of the ids of v1: it is the same user.
var userIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}$`)

// parseBasic reads the part of a Basic header after its scheme.
func parseBasic(credentials string) (user, password string, ok bool) {
	decoded, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}
