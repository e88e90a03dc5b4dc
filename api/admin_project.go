package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/rs/xid"
	"golang.org/x/text/language"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/outbound"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// minSecret is what HS256 needs (RFC 7518, 3.2): as many bytes as its hash has.
const minSecret = 32

var (
	errProjectNotFound   = fail(ProblemCodeProjectNotFound, "the key is of another project, or there is none of this id")
	errServerKeyNotFound = fail(ProblemCodeServerKeyNotFound, "the project has no such key, or it is revoked")
)

// ownProject lets a key of an admin at its own project only.
func ownProject(ctx context.Context, projectID int32) (*call, error) {
	call := callOf(ctx)
	if projectID != call.key.ProjectID {
		return nil, errProjectNotFound
	}
	return call, nil
}

// AdminGetProject reads a project's settings.
func (h *handlers) AdminGetProject(ctx context.Context, r AdminGetProjectRequestObject) (AdminGetProjectResponseObject, error) {
	if _, err := ownProject(ctx, r.ProjectID); err != nil {
		return nil, err
	}
	project, err := h.db.GetProject(ctx, r.ProjectID)
	if err != nil {
		return nil, orElse(err, errProjectNotFound)
	}
	return AdminGetProject200JSONResponse(projectBody(project)), nil
}

// AdminPatchProject changes a project's settings.
func (h *handlers) AdminPatchProject(ctx context.Context, r AdminPatchProjectRequestObject) (AdminPatchProjectResponseObject, error) {
	call, err := ownProject(ctx, r.ProjectID)
	if err != nil {
		return nil, err
	}
	if mistakes := mistakesOfProject(*r.Body, h.privateWebhooks); mistakes != nil {
		return nil, mistaken(mistakes)
	}
	project, err := h.db.EditProject(ctx, r.ProjectID, postgres.ProjectEdit{
		Name:            r.Body.Name,
		JWTSecret:       r.Body.JwtSecret,
		JWKSURL:         r.Body.JwksURL,
		DefaultLocale:   r.Body.DefaultLocale,
		DefaultCurrency: r.Body.DefaultCurrency,
		TimeZone:        r.Body.TimeZone,
		Sandbox:         r.Body.Sandbox,
		OrderSeconds:    r.Body.OrderSeconds,
		CartSeconds:     r.Body.CartSeconds,
		ReminderSeconds: r.Body.ReminderSeconds,
	}, call.key.KeyID, h.now())
	if err != nil {
		return nil, orElse(err, errProjectNotFound)
	}
	h.projects.forget(r.ProjectID)
	return AdminPatchProject200JSONResponse(projectBody(project)), nil
}

func mistakesOfProject(p ProjectPatch, privateIssuers bool) (mistakes []store.FieldError) {
	check := func(ok bool, field, message string) {
		if !ok {
			mistakes = append(mistakes, store.FieldError{Field: field, Message: message})
		}
	}
	secret := value(p.JwtSecret)
	check(secret == "" || len(secret) >= minSecret, "jwt_secret", "at least 32 characters, or empty")
	if address := value(p.JwksURL); address != "" {
		mistake := outbound.CheckURL(address, privateIssuers)
		check(mistake == "", "jwks_url", mistake)
	}
	if p.DefaultLocale != nil {
		tag, err := language.Parse(*p.DefaultLocale)
		check(err == nil && tag != language.Und && tag.String() == *p.DefaultLocale, "default_locale", "a language such as en or pt-BR")
	}
	if p.DefaultCurrency != nil {
		_, known := catalog.Decimals(*p.DefaultCurrency)
		check(known, "default_currency", "three capital letters of ISO 4217, such as EUR")
	}
	if p.TimeZone != nil {
		zone, err := time.LoadLocation(*p.TimeZone)
		check(err == nil && zone != time.Local && *p.TimeZone != "", "time_zone", "an IANA time zone, such as Europe/Moscow")
	}
	return mistakes
}

func projectBody(p postgres.Project) Project {
	return Project{
		ProjectID:       p.ProjectID,
		Name:            p.Name,
		JwtSecretSet:    p.JWTSecret != "",
		JwksURL:         optional.Text(p.JWKSURL),
		DefaultLocale:   p.DefaultLocale,
		DefaultCurrency: p.DefaultCurrency,
		TimeZone:        p.Zone.String(),
		Sandbox:         p.Sandbox,
		OrderSeconds:    int(p.OrderTTL.Seconds()),
		CartSeconds:     int(p.CartTTL.Seconds()),
		ReminderSeconds: int(p.ReminderLead.Seconds()),
	}
}

// AdminCreateServerKey makes a key for calls of /api/v2 with Basic, and shows it this once.
func (h *handlers) AdminCreateServerKey(ctx context.Context, r AdminCreateServerKeyRequestObject) (AdminCreateServerKeyResponseObject, error) {
	call, err := ownProject(ctx, r.ProjectID)
	if err != nil {
		return nil, err
	}
	made := ServerKey{KeyID: "key_" + xid.New().String(), APIKey: "qps_" + rand.Text()}
	hash := sha256.Sum256([]byte(made.APIKey))
	if err := h.db.AddServerKey(ctx, r.ProjectID, made.KeyID, hash[:], call.key.KeyID, h.now()); err != nil {
		return nil, err
	}
	return AdminCreateServerKey201JSONResponse(made), nil
}

// AdminRevokeServerKey ends a key.
func (h *handlers) AdminRevokeServerKey(ctx context.Context, r AdminRevokeServerKeyRequestObject) (AdminRevokeServerKeyResponseObject, error) {
	call, err := ownProject(ctx, r.ProjectID)
	if err != nil {
		return nil, err
	}
	if err := h.db.RevokeServerKey(ctx, r.ProjectID, r.KeyID, call.key.KeyID, h.now()); err != nil {
		return nil, orElse(err, errServerKeyNotFound)
	}
	return AdminRevokeServerKey204Response{}, nil
}
