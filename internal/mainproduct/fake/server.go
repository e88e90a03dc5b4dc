// Package fake is a main product for tests, for chaos and for development: the crediting API of
// seed 000, an inquiry, and the rewards of seed 001, with books that survive kill -9, and every way to misbehave.
package fake

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shopspring/decimal"
)

// The paths of the API. CreditPath is seed 000's.
const (
	CreditPath  = "/api/v1/credits/increase"
	InquiryPath = "/api/v1/credits/orders/{order_id}"
	RewardPath  = "/api/v1/rewards"
)

// The error codes that the fake uses by itself. The first two are seed 000's.
const (
	CodeUserNotFound      = "USER_NOT_FOUND"
	CodeInsufficientFunds = "INSUFFICIENT_FUNDS"
	CodeOrderIDConflict   = "ORDER_ID_CONFLICT"
	CodeInvalidRequest    = "INVALID_REQUEST"
	CodeOrderNotFound     = "ORDER_NOT_FOUND"
	CodeKeyReused         = "IDEMPOTENCY_KEY_REUSED"
)

var defaultMessages = map[string]string{
	CodeUserNotFound:      "User not found",
	CodeInsufficientFunds: "Insufficient funds",
	CodeOrderIDConflict:   "This order_id was used for another order",
	CodeOrderNotFound:     "This order was never received",
	CodeKeyReused:         "This Idempotency-Key was used for another reward",
}

const maxBodyBytes = 64 << 10

// Config says what kind of main product to be.
type Config struct {
	// APIKey is the Bearer key that callers must send. Required.
	APIKey string
	// CreditPaths are the paths that credit, all below /api/; CreditPath when empty.
	CreditPaths []string
	// KnownUsers, when not empty, are the only users. Otherwise everybody exists but UnknownUsers and
	// those whose id starts with "ghost".
	KnownUsers   []string
	UnknownUsers []string
	// Now and Random (0 to below 1) replace the clock and the dice in tests.
	Now    func() time.Time
	Random func() float64
}

// Server is the fake main product, an http.Handler.
type Server struct {
	config     Config
	books      *Books
	behaviours behaviours
	recent     recentCalls
	handler    http.Handler

	closeOnce sync.Once
	closed    chan struct{}
}

// New returns a fake main product that keeps these books. Close ends the calls that hang; the books
// are closed by whoever opened them.
func New(config Config, books *Books) (*Server, error) {
	if config.APIKey == "" {
		return nil, errors.New("fake main product: API key is empty")
	}
	if len(config.CreditPaths) == 0 {
		config.CreditPaths = []string{CreditPath}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Random == nil {
		config.Random = rand.Float64
	}
	s := &Server{
		config:     config,
		books:      books,
		behaviours: behaviours{now: config.Now, random: config.Random},
		closed:     make(chan struct{}),
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET "+InquiryPath, s.authorized(s.inquire))
	mux.HandleFunc("POST /api/", s.authorized(s.credit))
	mux.HandleFunc("POST "+RewardPath, s.authorized(s.reward))
	s.routeControl(mux)
	s.routePage(mux)
	for _, path := range config.CreditPaths {
		if parsed, err := url.ParseRequestURI(path); err != nil || parsed.Path != path || !strings.HasPrefix(path, "/api/") {
			return nil, errors.New("fake main product: a path that credits must be below /api/")
		}
	}
	// A page of another site must not reset the books of a developer's fake.
	s.handler = http.NewCrossOriginProtection().Handler(mux)
	return s, nil
}

// ServeHTTP serves the API, the control API and the page.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Books returns the books.
func (s *Server) Books() *Books { return s.books }

// Behaviours returns the misbehaviours in force.
func (s *Server) Behaviours() []Behaviour { return s.behaviours.all() }

// SetBehaviours replaces the misbehaviours; without arguments the fake behaves again. The error names
// the mistakes, and then nothing has changed.
func (s *Server) SetBehaviours(list ...Behaviour) error { return s.behaviours.set(list, false) }

// AddBehaviours adds to the misbehaviours in force.
func (s *Server) AddBehaviours(list ...Behaviour) error { return s.behaviours.set(list, true) }

// Close drops the calls that hang, so that an http.Server can shut down.
func (s *Server) Close() { s.closeOnce.Do(func() { close(s.closed) }) }

// authorized checks the Bearer key. Its answer is plain text, as that of a gateway in front of the API
// would be: a wrong key is no refusal of the order.
func (s *Server) authorized(next http.HandlerFunc) http.HandlerFunc {
	want := []byte("Bearer " + s.config.APIKey)
	return func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

// credit serves the crediting call of seed 000.
func (s *Server) credit(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(s.config.CreditPaths, r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	order, err := readOrder(w, r)
	if err != nil {
		refusalReply(Refusal{Code: CodeInvalidRequest, Message: err.Error()}, 0).write(w)
		return
	}
	s.give(w, r, OnCredit, order)
}

// give credits an order or a reward, or does what the behaviour for such a call wants.
func (s *Server) give(w http.ResponseWriter, r *http.Request, on string, order Order) {
	// The call counts from here on, whatever becomes of it.
	conflict, received, err := s.books.receive(order, s.config.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	acting, again := s.behaviours.pick(on, order.UserID, order.OrderID)
	call := recentCall{At: s.config.Now(), Order: order}
	if acting != nil {
		call.Behaviour = acting.Kind
	}
	s.recent.add(call)

	s.answer(w, r, acting, received, func() reply {
		if conflict {
			code := CodeOrderIDConflict
			if on == OnReward {
				code = CodeKeyReused
			}
			return s.afterLine(received, refusalReply(Refusal{Code: code, Message: defaultMessages[code]}, 0))
		}
		refusal := acting.refusal()
		if refusal == nil && !s.exists(order.UserID) {
			refusal = &Refusal{Code: CodeUserNotFound, Message: defaultMessages[CodeUserNotFound]}
		}
		entry, line, err := s.books.settle(order.OrderID, refusal, again, s.config.Now())
		if err != nil {
			return failureReply(err)
		}
		return s.afterLine(line, entryReply(entry, acting))
	})
}

// inquire tells what became of an order.
func (s *Server) inquire(w http.ResponseWriter, r *http.Request) {
	orderID := r.PathValue("order_id")
	acting, _ := s.behaviours.pick(OnInquiry, "", orderID)
	s.answer(w, r, acting, 0, func() reply {
		if refusal := acting.refusal(); refusal != nil {
			return refusalReply(*refusal, acting.Status)
		}
		entry, found := s.books.Entry(orderID)
		switch {
		case found && entry.Credited > 0:
			return s.afterLine(s.books.journal.last(), entryReply(entry, nil))
		case found && entry.Refusal != nil:
			return refusalReply(*entry.Refusal, http.StatusOK)
		default:
			return refusalReply(Refusal{Code: CodeOrderNotFound, Message: defaultMessages[CodeOrderNotFound]}, 0)
		}
	})
}

// afterLine is the reply, once the line behind it is safe.
func (s *Server) afterLine(line int64, r reply) reply {
	if err := s.books.journal.wait(line); err != nil {
		return failureReply(err)
	}
	return r
}

func (s *Server) exists(userID string) bool {
	if len(s.config.KnownUsers) > 0 {
		return slices.Contains(s.config.KnownUsers, userID)
	}
	return !strings.HasPrefix(userID, "ghost") && !slices.Contains(s.config.UnknownUsers, userID)
}

// readOrder reads the body of a crediting call. It demands the types of seed 000, the amount as a JSON
// number, so that a client that writes something else is found out.
func readOrder(w http.ResponseWriter, r *http.Request) (Order, error) {
	var body struct {
		UserID      string          `json:"user_id"`
		Amount      json.RawMessage `json:"amount"`
		Currency    string          `json:"currency"`
		OrderID     string          `json:"order_id"`
		ProductName string          `json:"product_name"`
		Source      string          `json:"source"`
		Parameters  Parameters      `json:"parameters"`
	}
	if err := readBody(w, r, &body); err != nil {
		return Order{}, err
	}
	if body.UserID == "" || body.OrderID == "" || body.Currency == "" {
		return Order{}, errors.New("user_id, order_id and currency are required")
	}
	amount, err := readAmount(body.Amount)
	if err != nil {
		return Order{}, err
	}
	return Order{
		OrderID: body.OrderID, UserID: body.UserID, Amount: amount, Currency: body.Currency,
		ProductName: body.ProductName, Source: body.Source, Parameters: body.Parameters,
	}, nil
}

func readBody(w http.ResponseWriter, r *http.Request, body any) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return errors.New("body is too large, or broke off")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(body); err != nil {
		return errors.New("body is not the documented JSON")
	}
	return nil
}

func readAmount(raw json.RawMessage) (decimal.Decimal, error) {
	wrong := errors.New("amount must be a positive JSON number")
	if len(raw) == 0 || len(raw) > 100 || raw[0] < '0' || raw[0] > '9' {
		return decimal.Decimal{}, wrong
	}
	amount, err := decimal.NewFromString(string(raw))
	if err != nil || !amount.IsPositive() || amount.Exponent() > 100 || amount.Exponent() < -100 {
		return decimal.Decimal{}, wrong
	}
	return amount, nil
}
