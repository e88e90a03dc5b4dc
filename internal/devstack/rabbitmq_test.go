package devstack_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/devstack"
)

func startRabbitMQ(t *testing.T) *devstack.RabbitMQ {
	t.Helper()
	rabbit, err := devstack.StartRabbitMQ(t.Context(), devstack.RabbitMQOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rabbit.Stop(stopContext(t))) })
	return rabbit
}

func TestRabbitMQKeepsItsPortAndQueuesOverKillAndRestart(t *testing.T) {
	t.Parallel()
	rabbit := startRabbitMQ(t) // beside the one of all tests, which it does not meet
	url := rabbit.URL()
	_, err := open(t, url).QueueDeclare("kept", true, false, false, false, nil)
	require.NoError(t, err)

	require.NoError(t, rabbit.Restart(t.Context())) // of a running one: the queue is on disk for sure
	require.NoError(t, rabbit.Kill())
	require.NoError(t, rabbit.Restart(t.Context()))
	require.Equal(t, url, rabbit.URL())
	_, err = open(t, url).QueueDeclarePassive("kept", true, false, false, false, nil)
	require.NoError(t, err, "a durable queue is there again")
}

func open(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // a kill may have ended it
	channel, err := conn.Channel()
	require.NoError(t, err)
	return channel
}
