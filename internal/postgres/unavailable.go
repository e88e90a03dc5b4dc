package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Unavailable tells whether an error means that the database can't answer now, rather than that it refused:
// it is unreachable, starting or stopping, all connections are busy, or others were in the way. What was
// asked may have been done all the same; asking again with the same ids is safe.
func Unavailable(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server):
		// 08: connection; 40: rolled back because of others, as in a deadlock; 53: out of resources; 57:
		// stopped, starting, or over the statement timeout.
		return slices.ContainsFunc([]string{"08", "40", "53", "57"}, func(class string) bool { return strings.HasPrefix(server.Code, class) })
	case errors.As(err, &connect), errors.As(err, &network), pgconn.Timeout(err), pgconn.SafeToRetry(err):
		return true
	default:
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
	}
}

// Refused tells whether the database said no to the data itself, so that asking again will not help.
func Refused(err error) bool {
	var server *pgconn.PgError
	// 22: a value that no column takes; 23: a constraint.
	return errors.As(err, &server) && (strings.HasPrefix(server.Code, "22") || strings.HasPrefix(server.Code, "23"))
}
