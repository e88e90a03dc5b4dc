package devstack

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Get reads an address that has to answer 200. The caller closes what it answers.
func Get(ctx context.Context, address string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s answers %s", address, response.Status)
	}
	return response.Body, nil
}

// ExpectOK fails unless an address answers 200.
func ExpectOK(ctx context.Context, address string) error {
	answer, err := Get(ctx, address)
	if err != nil {
		return err
	}
	return answer.Close()
}
