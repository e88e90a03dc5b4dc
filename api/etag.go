package api

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/quickpass/quickpass/internal/store"
)

// etag of a product is its version and its stock, "3.49", since an answer shows both. An edit changes
// settings only, so If-Match compares only the version: a sale in between is no conflict.
func etag(offer store.Offer) string {
	return fmt.Sprintf(`"%d.%d"`, offer.Product.Version, offer.Available)
}

// sameEntity compares weakly, as If-None-Match does (RFC 9110, 13.1.2).
func sameEntity(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == "*" || candidate == tag {
			return true
		}
	}
	return false
}

// sameVersion compares strongly, as If-Match does: a weak tag matches nothing.
func sameVersion(header string, version int64) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" {
			return true
		}
		unquoted, ok := strings.CutPrefix(candidate, `"`)
		unquoted, closed := strings.CutSuffix(unquoted, `"`)
		number, _, _ := strings.Cut(unquoted, ".")
		if ok && closed && number == strconv.FormatInt(version, 10) {
			return true
		}
	}
	return false
}

var errVersionConflict = fail(ProblemCodeVersionConflict, "read the product again and repeat the edit with its new ETag")

// precondition checks If-Match and If-None-Match and returns the version that the edit must find, 0 for any.
func precondition(params AdminPutProductParams, current store.Offer, exists bool) (version int64, err error) {
	if params.IfNoneMatch != nil && exists && sameEntity(*params.IfNoneMatch, etag(current)) {
		return 0, errVersionConflict
	}
	if params.IfMatch == nil {
		return 0, nil
	}
	if !exists || !sameVersion(*params.IfMatch, current.Product.Version) {
		return 0, errVersionConflict
	}
	return current.Product.Version, nil
}
