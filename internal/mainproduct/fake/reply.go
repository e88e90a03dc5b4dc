package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// reply is a complete HTTP answer, before any misbehaviour gets hold of it.
type reply struct {
	status      int
	contentType string
	body        []byte
}

func (r reply) write(w http.ResponseWriter) {
	if r.contentType != "" {
		w.Header().Set("Content-Type", r.contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // a client that is gone is not the fake's trouble
}

func jsonReply(status int, value any) reply {
	data, err := json.Marshal(value)
	if err != nil {
		return failureReply(err)
	}
	return reply{status, "application/json", data}
}

func failureReply(err error) reply {
	return reply{http.StatusInternalServerError, "text/plain; charset=utf-8", []byte(err.Error())}
}

// entryReply is the answer to a settled order, field by field as in seed 000, or to a reward as in seed 001, whose
// refusals have the fields of seed 000.
func entryReply(e Entry, acting *Behaviour) reply {
	if e.Credited == 0 && e.Refusal != nil {
		status := 0
		if acting != nil && acting.Kind == Refuse {
			status = acting.Status
		}
		return refusalReply(*e.Refusal, status)
	}
	credited := json.Number(e.Amount.String())
	if e.TaskID != 0 {
		credited = ""
	}
	return jsonReply(http.StatusOK, struct {
		Success        bool        `json:"success"`
		TransactionID  string      `json:"transaction_id"`
		NewBalance     json.Number `json:"new_balance"`
		CreditedAmount json.Number `json:"credited_amount,omitempty"`
	}{true, e.TransactionID, json.Number(e.NewBalance.String()), credited})
}

// refusalReply is the error answer of seed 000; status 0 takes the usual one of the code.
func refusalReply(r Refusal, status int) reply {
	if status == 0 {
		switch r.Code {
		case CodeUserNotFound, CodeOrderNotFound:
			status = http.StatusNotFound
		case CodeOrderIDConflict, CodeKeyReused:
			status = http.StatusConflict
		case CodeInvalidRequest:
			status = http.StatusBadRequest
		default:
			status = http.StatusUnprocessableEntity
		}
	}
	return jsonReply(status, struct {
		Success      bool   `json:"success"`
		ErrorCode    string `json:"error_code"`
		ErrorMessage string `json:"error_message"`
		RetryAllowed bool   `json:"retry_allowed"`
	}{false, r.Code, r.Message, r.RetryAllowed})
}

// answer answers a call as the acting behaviour wants; process does the true work and gives the true
// answer. Without process nothing is credited, and then received, the line that counts the call, is
// waited for here.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, acting *Behaviour, received int64, process func() reply) {
	if acting == nil || acting.Kind == Refuse {
		process().write(w)
		return
	}
	creditFirst := func() {
		if acting.CreditFirst {
			process()
		} else {
			_ = s.books.journal.wait(received) // the next call finds the failure
		}
	}

	switch acting.Kind {
	case Hang:
		creditFirst()
		select {
		case <-r.Context().Done():
		case <-s.closed:
		}
		drop()
	case Delay:
		var late reply
		if acting.CreditFirst {
			late = process()
		}
		timer := time.NewTimer(time.Duration(acting.DelayMS) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C: // also when the client is gone: a slow main product credits all the same
		case <-s.closed:
			drop()
		}
		if !acting.CreditFirst {
			late = process()
		}
		late.write(w)
	case ErrorStatus:
		creditFirst()
		status := acting.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		http.Error(w, http.StatusText(status), status)
	case Drop:
		creditFirst()
		drop()
	case Twice:
		writeTwice(w, process())
	case DoubleBody:
		double := process()
		double.body = slices.Concat(double.body, double.body)
		double.write(w)
	case Truncated:
		cut := process()
		cut.body = cut.body[:len(cut.body)/2]
		cut.write(w)
	case Garbage:
		creditFirst()
		reply{http.StatusOK, "application/json", []byte("\x00\xff\xfe{]\x1b[31m\r\n\"")}.write(w)
	case Empty:
		creditFirst()
		reply{http.StatusOK, "application/json", nil}.write(w)
	case WrongContent:
		creditFirst()
		reply{http.StatusOK, "text/html; charset=utf-8", []byte("<!doctype html><title>Maintenance</title><h1>Back soon</h1>")}.write(w)
	default:
		process().write(w)
	}
}

// drop closes the connection without an answer.
func drop() { panic(http.ErrAbortHandler) }

// writeTwice puts two whole responses on the connection, then closes it.
func writeTwice(w http.ResponseWriter, r reply) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		r.write(w) // HTTP/2 has no way to do this
		return
	}
	defer conn.Close()
	response := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.status, http.StatusText(r.status), r.contentType, len(r.body), r.body)
	_, _ = conn.Write(append(response, response...))
}
