package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// preflightKnownFor is how long a browser need not ask again whether it may call, in seconds.
const preflightKnownFor = 600

// crossOrigin lets pages of these origins make the calls of /api/v2, which clients in browsers make; "*" are
// all. No call is made in anybody's name because of a cookie, so a page that is let in has only the tokens
// that it brought.
func crossOrigin(origins []string) echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		Skipper: func(c echo.Context) bool { return !calledByPages(c.Request().URL.Path) },
		AllowOriginFunc: func(origin string) (bool, error) {
			return slices.Contains(origins, "*") || slices.Contains(origins, origin), nil
		},
		AllowMethods:     []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowCredentials: true, // existing clients ask with credentials, though they send none
		ExposeHeaders:    []string{"Idempotency-Replayed", "Preference-Applied", echo.HeaderRetryAfter, echo.HeaderXRequestID},
		MaxAge:           preflightKnownFor,
	})
}

func calledByPages(path string) bool {
	return strings.HasPrefix(path, "/api/v2/") || strings.HasPrefix(path, "/api/v3/") || path == "/api/v1/sandbox/payments"
}
