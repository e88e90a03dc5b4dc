package testkit

import "testing"

const amqpVariable = "QUICKPASS_TEST_AMQP_URL"

// AMQPURL leads to the tests' RabbitMQ. Tests share it: each takes queues of its own.
func AMQPURL(t testing.TB) string {
	t.Helper()
	return required(t, amqpVariable)
}
