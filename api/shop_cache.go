package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/singleflight"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	shownFor      = time.Second // how old a stock count in the catalog may be
	relistenAfter = time.Second // after the listener has lost its connection
	cachedPages   = 64          // of at most 200 products, about 1 KB each
	cachedSingles = 4096
)

// shopCache keeps what everybody sees of the catalog, ready to be sent. An entry serves for one second, so that stock
// counts follow the sales, and no longer once any product was edited, here or by another process. While edits can't be
// heard of, nothing is served from it. Purchases never look here.
type shopCache struct {
	db      *postgres.DB
	logger  *slog.Logger
	clock   func() time.Time
	timeout time.Duration // of a read that several requests share

	live       atomic.Bool  // edits are heard of
	generation atomic.Int64 // grows with each edit
	pages      *lru.Cache[shopKey, *shown]
	singles    *lru.Cache[shopKey, *shown]
	reads      singleflight.Group
}

// shopKey is what was asked: one product, or a page.
type shopKey struct {
	projectID          int32
	sku, group, cursor string
	limit              int
}

// shown is an answer ready to be sent.
type shown struct {
	body       []byte
	etag       string
	readAt     time.Time // when reading began
	generation int64
}

func newShopCache(db *postgres.DB, logger *slog.Logger, timeout time.Duration) (*shopCache, error) {
	pages, err := lru.New[shopKey, *shown](cachedPages)
	if err != nil {
		return nil, err
	}
	singles, err := lru.New[shopKey, *shown](cachedSingles)
	if err != nil {
		return nil, err
	}
	return &shopCache{db: db, logger: logger, clock: time.Now, timeout: timeout, pages: pages, singles: singles}, nil
}

// get answers from memory, or reads once for all who ask for the same.
func (s *shopCache) get(ctx context.Context, key shopKey, read func(context.Context) (any, error)) (*shown, error) {
	entries := s.pages
	if key.sku != "" {
		entries = s.singles
	}
	if !s.live.Load() {
		return s.read(ctx, s.generation.Load(), read)
	}
	generation := s.generation.Load()
	if entry, ok := s.fresh(entries, key, generation); ok {
		return entry, nil
	}
	// Who comes after an edit does not join those who came before it.
	done := s.reads.DoChan(fmt.Sprintf("%d %#v", generation, key), func() (_ any, err error) {
		defer func() {
			if p := recover(); p != nil { // this is no request's goroutine: a panic would end the process
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		if entry, ok := s.fresh(entries, key, generation); ok { // of those who were a moment sooner
			return entry, nil
		}
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		entry, err := s.read(shared, generation, read)
		if err == nil {
			entries.Add(key, entry)
		}
		return entry, err
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*shown), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *shopCache) fresh(entries *lru.Cache[shopKey, *shown], key shopKey, generation int64) (*shown, bool) {
	entry, ok := entries.Get(key)
	return entry, ok && entry.generation == generation && s.clock().Sub(entry.readAt) < shownFor
}

func (s *shopCache) read(ctx context.Context, generation int64, read func(context.Context) (any, error)) (*shown, error) {
	readAt := s.clock()
	value, err := read(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("show the shop: %w", err)
	}
	hash := sha256.Sum256(body)
	return &shown{
		body:       append(body, '\n'),
		etag:       `"` + base64.RawURLEncoding.EncodeToString(hash[:16]) + `"`,
		readAt:     readAt,
		generation: generation,
	}, nil
}

// changed makes everything be read again.
func (s *shopCache) changed() { s.generation.Add(1) }

// listen hears of edits until ctx ends. After a gap everything is read again.
func (s *shopCache) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.db.ListenCatalog(ctx, func() {
			s.changed()
			s.live.Store(true)
		}, s.changed)
		s.live.Store(false)
		if ctx.Err() != nil {
			return
		}
		s.logger.LogAttrs(ctx, slog.LevelWarn, "the catalog is not cached until edits are heard of again", slog.String("error", err.Error()))
		select {
		case <-ctx.Done():
		case <-time.After(relistenAfter):
		}
	}
}

// seeOwnEdits lets an admin read at once what this process wrote; other processes hear of it a moment later.
func (s *Server) seeOwnEdits(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if c.Request().Method != http.MethodGet && strings.HasPrefix(c.Path(), "/api/v1/admin/") {
			s.shop.changed()
		}
		return err
	}
}

// answer sends an entry, or 304 to a client that has it.
func (e *shown) answer(ifNoneMatch *string) shownAnswer {
	return shownAnswer{e, ifNoneMatch != nil && sameEntity(*ifNoneMatch, e.etag)}
}

type shownAnswer struct {
	*shown
	known bool
}

func (a shownAnswer) VisitListProductsResponse(w http.ResponseWriter) error { return a.write(w) }

func (a shownAnswer) VisitGetProductResponse(w http.ResponseWriter) error { return a.write(w) }

func (a shownAnswer) write(w http.ResponseWriter) error {
	header := w.Header()
	header.Set("ETag", a.etag)
	header.Set("Cache-Control", "private, no-cache")
	if a.known {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(a.body)
	return err
}
