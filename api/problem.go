package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// problemKinds gives every code its status and title. Codes are promises: add, never change.
var problemKinds = map[ProblemCode]struct {
	status int
	title  string
}{
	ProblemCodeInvalidRequest:          {http.StatusBadRequest, "The request is not valid"},
	ProblemCodeUnauthorized:            {http.StatusUnauthorized, "No valid API key"},
	ProblemCodeForbidden:               {http.StatusForbidden, "This key may not make this call"},
	ProblemCodeNotFound:                {http.StatusNotFound, "No such address"},
	ProblemCodeMethodNotAllowed:        {http.StatusMethodNotAllowed, "This address does not take this method"},
	ProblemCodeRequestTimeout:          {http.StatusRequestTimeout, "The request took too long to arrive"},
	ProblemCodeBodyTooLarge:            {http.StatusRequestEntityTooLarge, "The body is too large"},
	ProblemCodeUnsupportedMediaType:    {http.StatusUnsupportedMediaType, "The body is of a type that the call does not take"},
	ProblemCodeUserNotFound:            {http.StatusNotFound, "No such user"},
	ProblemCodeProductNotFound:         {http.StatusNotFound, "No such product"},
	ProblemCodeOrderNotFound:           {http.StatusNotFound, "No such order"},
	ProblemCodeUserBlocked:             {http.StatusForbidden, "The account is blocked"},
	ProblemCodeAddressDenied:           {http.StatusForbidden, "Not from this address"},
	ProblemCodeNotEligible:             {http.StatusForbidden, "Not for this user"},
	ProblemCodeNotOnSaleNow:            {http.StatusConflict, "Not on sale now"},
	ProblemCodePurchaseLimitReached:    {http.StatusConflict, "The limit of purchases is reached"},
	ProblemCodeSalesLimitReached:       {http.StatusConflict, "The limit of sales is reached"},
	ProblemCodeTooFrequent:             {http.StatusTooManyRequests, "Too many purchases in a short time"},
	ProblemCodeRateLimited:             {http.StatusTooManyRequests, "Too many requests"},
	ProblemCodeNotAwaitingConfirmation: {http.StatusConflict, "The order does not await confirmation"},
	ProblemCodeInsufficientCoins:       {http.StatusPaymentRequired, "Not enough coins"},
	ProblemCodeOutOfStock:              {http.StatusConflict, "Out of stock"},
	ProblemCodeTotalTooLarge:           {http.StatusUnprocessableEntity, "The order costs too much"},
	ProblemCodeOrderNotReplayable:      {http.StatusConflict, "The order can't be replayed"},
	ProblemCodeReplayNotFound:          {http.StatusNotFound, "No such replay"},
	ProblemCodeReplayOver:              {http.StatusConflict, "The replay is over"},
	ProblemCodeNothingToReplay:         {http.StatusUnprocessableEntity, "Nothing to replay"},
	ProblemCodeTooManyOrders:           {http.StatusUnprocessableEntity, "Too many orders at once"},
	ProblemCodeSkuTaken:                {http.StatusConflict, "The SKU is taken"},
	ProblemCodeVersionConflict:         {http.StatusPreconditionFailed, "It has changed meanwhile"},
	ProblemCodeStockInitialFixed:       {http.StatusUnprocessableEntity, "Initial stock is set at creation only"},
	ProblemCodeStockEditRefused:        {http.StatusUnprocessableEntity, "A row of the edit is wrong"},
	ProblemCodeImportHasMistakes:       {http.StatusUnprocessableEntity, "The import has mistakes"},
	ProblemCodeAmountOutOfRange:        {http.StatusUnprocessableEntity, "The amount is out of range"},
	ProblemCodeOrderNotResolvable:      {http.StatusConflict, "The order can't be settled by hand"},
	ProblemCodeOrderNotRefundable:      {http.StatusConflict, "The order can't be refunded"},
	ProblemCodeOrderBeingDelivered:     {http.StatusConflict, "The order is being delivered"},
	ProblemCodeDeliveryNotDecidable:    {http.StatusConflict, "The delivery waits for no decision"},
	ProblemCodeRefundTooLarge:          {http.StatusUnprocessableEntity, "More than what is left of the price"},
	ProblemCodeTransactionTaken:        {http.StatusConflict, "The transaction belongs to another order"},
	ProblemCodeSecondAdminRequired:     {http.StatusForbidden, "Another admin must approve"},
	ProblemCodeApprovalNotFound:        {http.StatusNotFound, "No such approval"},
	ProblemCodeApprovalDecided:         {http.StatusConflict, "It has been decided"},
	ProblemCodeDisputeNotFound:         {http.StatusNotFound, "No such dispute"},
	ProblemCodeDisputeClosed:           {http.StatusConflict, "The dispute is closed"},
	ProblemCodeAddressNotDenied:        {http.StatusNotFound, "The address is not denied"},
	ProblemCodeEventsRejected:          {http.StatusUnprocessableEntity, "No event was accepted"},
	ProblemCodeSignatureMissing:        {http.StatusUnauthorized, "The webhook is not signed"},
	ProblemCodeTimestampTooOld:         {http.StatusUnauthorized, "The signature is too old"},
	ProblemCodeTimestampInFuture:       {http.StatusUnauthorized, "The signature is from the future"},
	ProblemCodeSignatureInvalid:        {http.StatusUnauthorized, "The signature does not hold"},
	ProblemCodeWebhookDisabled:         {http.StatusNotFound, "No webhook is set up"},
	ProblemCodeTaskNotFound:            {http.StatusNotFound, "No such task"},
	ProblemCodeTaskIDTaken:             {http.StatusConflict, "The task id is taken"},
	ProblemCodeNotRunning:              {http.StatusConflict, "The task is not running"},
	ProblemCodeLocked:                  {http.StatusConflict, "The task is locked"},
	ProblemCodeAlreadyActive:           {http.StatusConflict, "The task is active"},
	ProblemCodeAlreadyCompleted:        {http.StatusConflict, "The task is completed"},
	ProblemCodeAlreadyUsed:             {http.StatusConflict, "The task has been tried"},
	ProblemCodeAutomatic:               {http.StatusConflict, "The task needs no activation"},
	ProblemCodeNotActive:               {http.StatusConflict, "The task is not active"},
	ProblemCodeTooManyEvents:           {http.StatusUnprocessableEntity, "Too many events"},
	ProblemCodeEventNotFound:           {http.StatusNotFound, "No such event"},
	ProblemCodeRewardNotFound:          {http.StatusNotFound, "No such reward"},
	ProblemCodeRewardNotReplayable:     {http.StatusConflict, "The reward can't be tried again"},
	ProblemCodeCardDeclined:            {http.StatusPaymentRequired, "The card was declined"},
	ProblemCodePaymentCodeRequired:     {http.StatusPaymentRequired, "The card asks for a code"},
	ProblemCodePaymentTimeout:          {http.StatusGatewayTimeout, "The payment provider did not answer"},
	ProblemCodePaymentNotTaken:         {http.StatusConflict, "The order takes no payment"},
	ProblemCodeSandboxOff:              {http.StatusConflict, "Not a sandbox order"},
	ProblemCodeAlertNotFound:           {http.StatusNotFound, "No such alert"},
	ProblemCodePaymentNotFound:         {http.StatusNotFound, "No such payment"},
	ProblemCodeReturnNotFound:          {http.StatusNotFound, "Nothing of this id is owed"},
	ProblemCodeReturnGiven:             {http.StatusConflict, "It went back by another transaction"},
	ProblemCodePaymentNotDecidable:     {http.StatusConflict, "The payment can't be decided"},
	ProblemCodeItemNotFound:            {http.StatusNotFound, "No such item"},
	ProblemCodeNotAGameKey:             {http.StatusConflict, "The item is no game key"},
	ProblemCodeProjectNotFound:         {http.StatusNotFound, "No such project"},
	ProblemCodeServerKeyNotFound:       {http.StatusNotFound, "No such key of a server"},
	ProblemCodeWebhookEndpointNotFound: {http.StatusNotFound, "No webhook endpoint"},
	ProblemCodeWebhookDeliveryNotFound: {http.StatusNotFound, "No such webhook"},
	ProblemCodeWebhookNotReplayable:    {http.StatusConflict, "The webhook can't be sent again"},
	ProblemCodeIdempotencyKeyReused:    {http.StatusUnprocessableEntity, "The Idempotency-Key was used for another request"},
	ProblemCodeOverloaded:              {http.StatusServiceUnavailable, "Too busy at the moment"},
	ProblemCodeUnavailable:             {http.StatusServiceUnavailable, "Not available at the moment"},
	ProblemCodeInternal:                {http.StatusInternalServerError, "Something went wrong on our side"},
}

// failure is an error that the client is told about: a stable code and what to do.
type failure struct {
	code       ProblemCode
	detail     string
	fields     []FieldProblem
	rows       []RowProblem
	rejected   []RejectedEvent
	retryAfter time.Duration
	until      *time.Time // the same, as a moment
}

func (f *failure) Error() string { return string(f.code) + ": " + f.detail }

func (f *failure) status() int { return problemKinds[f.code].status }

func fail(code ProblemCode, detail string) *failure { return &failure{code: code, detail: detail} }

// invalid is a mistake in one field, parameter or header.
func invalid(field, message string) *failure {
	return &failure{code: ProblemCodeInvalidRequest, detail: field + ": " + message, fields: []FieldProblem{{field, message}}}
}

// mistaken lists the mistakes that the rules found.
func mistaken(mistakes []store.FieldError) *failure {
	f := invalid(mistakes[0].Field, mistakes[0].Message)
	f.fields = each(mistakes, func(m store.FieldError) FieldProblem { return FieldProblem(m) })
	return f
}

// within names the fields of a part of the body by their whole path.
func (f *failure) within(part string) *failure {
	fields := each(f.fields, func(p FieldProblem) FieldProblem { return FieldProblem{part + p.Field, p.Message} })
	return &failure{code: f.code, detail: part + f.detail, fields: fields}
}

// failureOf decides what the client is told about an error. Whatever is not known here is internal,
// and its text stays in the log.
func failureOf(err error) *failure {
	var known *failure
	var refusal *store.Refusal
	var web *echo.HTTPError
	var payment *payments.Refusal
	var webhook *events.MessageError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refusal) && problemKinds[ProblemCode(refusal.Code)].status != 0:
		return &failure{code: ProblemCode(refusal.Code), detail: refusal.Message, until: refusal.Until}
	case errors.As(err, &payment) && problemKinds[ProblemCode(payment.Code)].status != 0:
		f := fail(ProblemCode(payment.Code), payment.Message)
		for _, detail := range payment.Fields {
			f.fields = append(f.fields, FieldProblem{detail.Property, detail.Message})
		}
		return f
	case errors.As(err, &webhook) && problemKinds[ProblemCode(webhook.Code)].status != 0:
		return fail(ProblemCode(webhook.Code), webhook.Message)
	case errors.Is(err, postgres.ErrIdempotencyKeyReused):
		return fail(ProblemCodeIdempotencyKeyReused, "send another request under another Idempotency-Key")
	case errors.Is(err, postgres.ErrTransactionClash):
		return fail(ProblemCodeTransactionTaken, "another order was completed with this transaction_id of the main product")
	case errors.Is(err, postgres.ErrBeingDelivered):
		return fail(ProblemCodeOrderBeingDelivered, "the main product may be giving a part of the order at this moment; try again when its deliveries have ended")
	case errors.Is(err, postgres.ErrSecondAdminRequired):
		return fail(ProblemCodeSecondAdminRequired, "the key that asked for it can't approve it; another admin's key can")
	case errors.Is(err, ledger.ErrInsufficientCoins):
		return fail(ProblemCodeInsufficientCoins, "the wallet would fall below zero; take away less")
	case errors.Is(err, ledger.ErrAmountOutOfRange):
		return fail(ProblemCodeAmountOutOfRange, "a wallet holds at most 1,000,000,000,000 coins")
	case errors.As(err, &web):
		return failureOfEcho(web)
	case postgres.Unavailable(err):
		return &failure{
			code:       ProblemCodeUnavailable,
			detail:     "try again in a moment; with the same Idempotency-Key it is safe",
			retryAfter: time.Second,
		}
	default:
		return fail(ProblemCodeInternal, "it has been logged; quote the request_id to support")
	}
}

// failureOfEcho maps what Echo and the generated code answer by themselves.
func failureOfEcho(err *echo.HTTPError) *failure {
	switch err.Code {
	case http.StatusNotFound:
		return fail(ProblemCodeNotFound, "see /docs for the addresses there are")
	case http.StatusMethodNotAllowed:
		return fail(ProblemCodeMethodNotAllowed, "the Allow header lists the methods there are")
	case http.StatusBadRequest:
		return fail(ProblemCodeInvalidRequest, fmt.Sprint(err.Message))
	default:
		return fail(ProblemCodeInternal, "it has been logged; quote the request_id to support")
	}
}

// refuse writes the problem of an error and returns the status, for the log. A client that has left
// gets nothing; its status is nginx's 499.
func refuse(c echo.Context, call *call, err error) int {
	f := failureOf(err)
	switch {
	case c.Response().Committed:
		return c.Response().Status
	case isV2(c.Request().URL.Path):
		return refuseV2(c, call, err)
	case f.status() >= http.StatusInternalServerError && call.client.Err() != nil:
		return 499
	}
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, "application/problem+json")
	if f.until != nil {
		f.retryAfter = max(time.Until(*f.until), time.Second)
	}
	if f.retryAfter > 0 {
		header.Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	switch f.code {
	case ProblemCodeUnauthorized:
		header.Set(echo.HeaderWWWAuthenticate, "Bearer")
	case ProblemCodeRequestTimeout:
		header.Set(echo.HeaderConnection, "close") // the rest of the body may still come
	}
	problem := Problem{
		Type: "/docs#" + string(f.code), Title: problemKinds[f.code].title, Status: f.status(), Code: f.code,
		Detail: cmp.Or(f.detail, problemKinds[f.code].title), RequestID: &call.requestID,
	}
	if f.fields != nil {
		problem.Errors = &f.fields
	}
	if f.rows != nil {
		problem.Rows = &f.rows
	}
	if f.rejected != nil {
		none := 0
		problem.Accepted, problem.Duplicates, problem.Rejected = &none, &none, &f.rejected
	}
	c.Response().WriteHeader(f.status())
	_ = json.NewEncoder(c.Response()).Encode(problem) // nobody is left to tell
	return f.status()
}
