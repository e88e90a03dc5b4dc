package fake

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	defaultPage = 100
	maxPage     = 1000
	maxRecent   = 50
)

// routeControl adds the control API. It has no key of its own: a fake listens where only its owner
// can reach it.
func (s *Server) routeControl(mux *http.ServeMux) {
	mux.HandleFunc("GET /control/health", func(w http.ResponseWriter, _ *http.Request) {
		jsonReply(http.StatusOK, map[string]string{"status": "ok"}).write(w)
	})
	mux.HandleFunc("GET /control/behaviours", s.showBehaviours)
	mux.HandleFunc("PUT /control/behaviours", func(w http.ResponseWriter, r *http.Request) { s.changeBehaviours(w, r, false) })
	mux.HandleFunc("POST /control/behaviours", func(w http.ResponseWriter, r *http.Request) { s.changeBehaviours(w, r, true) })
	mux.HandleFunc("DELETE /control/behaviours", func(w http.ResponseWriter, r *http.Request) {
		_ = s.SetBehaviours() // nothing to be wrong
		s.showBehaviours(w, r)
	})
	mux.HandleFunc("GET /control/books", s.showBooks)
	mux.HandleFunc("POST /control/reset", s.reset)
}

func (s *Server) showBehaviours(w http.ResponseWriter, _ *http.Request) {
	jsonReply(http.StatusOK, s.Behaviours()).write(w)
}

// changeBehaviours takes a JSON array of behaviours.
func (s *Server) changeBehaviours(w http.ResponseWriter, r *http.Request, keep bool) {
	var list []Behaviour
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	err := dec.Decode(&list)
	if err == nil {
		err = s.behaviours.set(list, keep)
	}
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	s.showBehaviours(w, r)
}

// BooksPage is the answer of GET /control/books.
type BooksPage struct {
	Totals  Totals  `json:"totals"`
	Entries []Entry `json:"entries"`
	// NextOffset is the offset of the next page, 0 after the last one.
	NextOffset int `json:"next_offset,omitempty"`
}

// showBooks answers with one order, or with a page of all of them.
func (s *Server) showBooks(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("order_id") {
		entry, found := s.books.Entry(query.Get("order_id"))
		if !found {
			problem(w, http.StatusNotFound, errors.New("this order was never received"))
			return
		}
		jsonReply(http.StatusOK, entry).write(w)
		return
	}

	offset, err := number(query.Get("offset"), 0)
	limit, limitErr := number(query.Get("limit"), defaultPage)
	if err != nil || limitErr != nil {
		problem(w, http.StatusBadRequest, errors.New("offset and limit are whole numbers, not negative"))
		return
	}
	page := BooksPage{Totals: s.books.Totals(), Entries: s.books.Entries(offset, min(limit, maxPage))}
	if end := offset + len(page.Entries); len(page.Entries) > 0 && end < page.Totals.Orders {
		page.NextOffset = end
	}
	jsonReply(http.StatusOK, page).write(w)
}

func number(text string, otherwise int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err
}

// reset empties the books and ends all misbehaviour.
func (s *Server) reset(w http.ResponseWriter, _ *http.Request) {
	_ = s.SetBehaviours()
	s.recent.clear()
	if err := s.books.Reset(); err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func problem(w http.ResponseWriter, status int, err error) {
	jsonReply(status, map[string]string{"error": err.Error()}).write(w)
}

// recentCall is a row of the page's list of calls.
type recentCall struct {
	At        time.Time
	Order     Order
	Behaviour Kind
}

// recentCalls remembers the last calls, for the page only.
type recentCalls struct {
	mu    sync.Mutex
	calls [maxRecent]recentCall
	count int
}

func (c *recentCalls) add(call recentCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[c.count%maxRecent] = call
	c.count++
}

// newestFirst returns the calls.
func (c *recentCalls) newestFirst() []recentCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	var calls []recentCall
	for i := c.count - 1; i >= max(0, c.count-maxRecent); i-- {
		calls = append(calls, c.calls[i%maxRecent])
	}
	return calls
}

func (c *recentCalls) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = 0
}
