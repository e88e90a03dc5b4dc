// Package mainproduct calls the API of the main product, the product whose credits QuickPass sells.
//
// A call has no Go error: whatever happens on the wire is an Answer of the kind Credited, Refused or
// Unknown (for an inquiry also NotFound), because the purchase decides by kind and nothing else.
// The wire is seed 000's, and seed 001's for rewards.
package mainproduct

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// inquiryPlaceholder stands for the order in Config.InquiryPath.
const inquiryPlaceholder = "{order_id}"

// codeOrderNotFound is the error_code by which an inquiry says that the order was never received.
const codeOrderNotFound = "ORDER_NOT_FOUND"

// minRedactedKey keeps a toy key such as "a" from punching holes into every message.
const minRedactedKey = 6

// Config says which main product to call.
type Config struct {
	// BaseURL is the address before the endpoint, such as "https://game.example" or
	// "https://game.example/quickpass"; http or https, without credentials, query and fragment. Required.
	BaseURL string
	// APIKey is sent as "Authorization: Bearer <key>". Printable ASCII without spaces. Required.
	APIKey string
	// InquiryPath is the path that tells what became of an order, with {order_id} in it, such as
	// "/api/v1/credits/orders/{order_id}". Empty when the main product has none.
	InquiryPath string
	// RewardPath is the path that gives rewards of tasks; DefaultRewardPath when empty.
	RewardPath string
	// Source names QuickPass in the main product's books; DefaultSource when empty.
	Source string
	// HTTPClient replaces the default one, and with it the guard against main products that answer
	// twice on a connection. Redirects are not followed whatever it says.
	HTTPClient *http.Client
}

// Client calls one main product. It is safe for concurrent use.
type Client struct {
	baseURL     string
	apiKey      string
	inquiryPath string
	rewardPath  string
	source      string
	http        *http.Client
	redact      func(string) string // takes the API key out of foreign text
}

// New checks the configuration and returns a client. It connects to nothing yet. The error names
// every mistake and never contains the key.
func New(cfg Config) (*Client, error) {
	var mistakes []error
	if err := validateBaseURL(cfg.BaseURL); err != nil {
		mistakes = append(mistakes, err)
	}
	if !isPlainKey(cfg.APIKey) {
		mistakes = append(mistakes, errors.New("API key must be printable ASCII without spaces, and not empty"))
	}
	if cfg.InquiryPath != "" {
		if err := validateInquiryPath(cfg.InquiryPath); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if cfg.RewardPath == "" {
		cfg.RewardPath = DefaultRewardPath
	}
	if err := ValidateEndpoint(cfg.RewardPath); err != nil {
		mistakes = append(mistakes, errors.New("reward path: "+err.Error()))
	}
	if len(mistakes) > 0 {
		return nil, fmt.Errorf("main product: %w", errors.Join(mistakes...))
	}

	if cfg.Source == "" {
		cfg.Source = DefaultSource
	}
	client := http.Client{Transport: newTransport()}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	// A redirect would carry the key and the order to an address that nobody configured.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	return &Client{
		baseURL:     strings.TrimRight(cfg.BaseURL, "/"),
		apiKey:      cfg.APIKey,
		inquiryPath: cfg.InquiryPath,
		rewardPath:  cfg.RewardPath,
		source:      cfg.Source,
		http:        &client,
		redact:      redactor(cfg.APIKey),
	}, nil
}

// Credit asks the main product to credit the user, once, and waits until the context ends. The
// context's deadline is the only time limit (seed 000: 30 seconds, a setting of the product). Retries
// are the caller's, with the same OrderID.
func (c *Client) Credit(ctx context.Context, request CreditRequest) Answer {
	if request.Endpoint == "" {
		request.Endpoint = DefaultEndpoint
	}
	if err := ValidateEndpoint(request.Endpoint); err != nil {
		return unknown(ReasonInvalidRequest, err.Error(), false)
	}
	body, err := request.encode(c.source)
	if err != nil {
		return unknown(ReasonInvalidRequest, err.Error(), false)
	}
	return c.call(ctx, message{method: http.MethodPost, path: request.Endpoint, body: body})
}

// HasInquiry says whether the main product can be asked what became of an order.
func (c *Client) HasInquiry() bool { return c.inquiryPath != "" }

// Inquire asks what became of an order: Credited, Refused, NotFound when the main product never
// received it, else Unknown. MaybeCredited is true for every Unknown: an inquiry that failed proves
// nothing about the order. Without an inquiry path the answer is Unknown with ReasonInvalidRequest.
func (c *Client) Inquire(ctx context.Context, orderID string) Answer {
	if !c.HasInquiry() {
		return unknown(ReasonInvalidRequest, "no inquiry path is configured", true)
	}
	if orderID == "" || orderID == "." || orderID == ".." {
		return unknown(ReasonInvalidRequest, "order_id cannot be part of a path", true)
	}
	path := strings.ReplaceAll(c.inquiryPath, inquiryPlaceholder, url.PathEscape(orderID))
	answer := c.call(ctx, message{method: http.MethodGet, path: path})

	switch {
	case answer.Kind == Refused && answer.Code == codeOrderNotFound &&
		(answer.HTTPStatus == http.StatusNotFound || isSuccess(answer.HTTPStatus)):
		answer.Kind = NotFound
	case answer.Kind == Refused && !isSuccess(answer.HTTPStatus):
		// The inquiry was refused, not the order.
		refused := answer
		detail := shorten("inquiry refused: "+refused.Code+" "+refused.Message, maxMessageRunes)
		answer = unknown(ReasonUnintelligibleAnswer, detail, true)
		answer.HTTPStatus, answer.Duration = refused.HTTPStatus, refused.Duration
	case answer.Kind == Unknown:
		answer.MaybeCredited = true
	}
	return answer
}

// message is what one call sends.
type message struct {
	method, path   string
	body           []byte
	idempotencyKey string // empty where the body has one
}

// call makes one HTTP exchange and says what it came to.
func (c *Client) call(ctx context.Context, m message) Answer {
	start := time.Now()
	answer := c.exchange(ctx, m)
	answer.Duration = time.Since(start)
	// In this order, so that neither a control character nor the end of the text hides a part of the key.
	answer.Code = shorten(c.redact(printable(answer.Code)), maxCodeRunes)
	answer.Message = shorten(c.redact(printable(answer.Message)), maxMessageRunes)
	answer.Detail = shorten(c.redact(printable(answer.Detail)), maxMessageRunes)
	return answer
}

func (c *Client) exchange(ctx context.Context, m message) Answer {
	if err := ctx.Err(); err != nil {
		return unknown(reasonOf(ctx, err, false), "the context ended before the call", false)
	}
	ctx, progress := traceProgress(ctx)
	request, err := http.NewRequestWithContext(ctx, m.method, c.baseURL+m.path, bytes.NewReader(m.body))
	if err != nil {
		return unknown(ReasonInvalidRequest, innermost(err), false)
	}
	request.Header.Set("Authorization", "Bearer "+c.apiKey)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "quickpass")
	if m.method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	if m.idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", m.idempotencyKey)
	}

	response, err := c.http.Do(request)
	if err != nil {
		return progress.failure(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 {
		// 101: the body is now a conversation in another protocol, and need never end.
		answer := unknown(ReasonUnintelligibleAnswer, describe(response.StatusCode, nil), true)
		answer.HTTPStatus = response.StatusCode
		return answer
	}
	// Reading to the end also gives the connection back for the next call.
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes+1))

	var answer Answer
	if err != nil {
		answer = unknown(reasonOf(ctx, err, true), "while reading the answer: "+innermost(err), true)
	} else {
		answer = interpret(response.StatusCode, raw)
	}
	answer.HTTPStatus = response.StatusCode
	return answer
}

// redactor hides the key in foreign text, as some servers repeat the request in their errors.
func redactor(key string) func(string) string {
	if len(key) < minRedactedKey {
		return func(text string) string { return text }
	}
	const hidden = "[redacted]"
	// The second form is how some JSON encoders write a slash.
	return strings.NewReplacer(key, hidden, strings.ReplaceAll(key, "/", `\/`), hidden).Replace
}
