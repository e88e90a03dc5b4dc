package fake

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFiles, "page/index.html"))

// pageRow is a call together with what the books say of its order now.
type pageRow struct {
	Call  recentCall
	Entry Entry
}

func (s *Server) routePage(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.showPage)
	for _, name := range []string{"page.css", "page.js"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, pageFiles, "page/"+name)
		})
	}
}

// showPage renders the whole page; its script fetches it again and swaps the live part in, so that all
// escaping stays with html/template.
func (s *Server) showPage(w http.ResponseWriter, _ *http.Request) {
	calls := s.recent.newestFirst()
	rows := make([]pageRow, 0, len(calls))
	for _, call := range calls {
		entry, _ := s.books.Entry(call.Order.OrderID)
		rows = append(rows, pageRow{call, entry})
	}
	var page bytes.Buffer
	err := pageTemplate.Execute(&page, map[string]any{
		"Totals":     s.books.Totals(),
		"Balances":   s.books.RecentBalances(20),
		"Calls":      rows,
		"Behaviours": s.Behaviours(),
	})
	if err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(page.Bytes())
}
