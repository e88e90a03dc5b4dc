package events_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/testkit"
)

// queues is a test's own pair of queues, and a channel to look at them.
type queues struct {
	t       *testing.T
	name    string
	channel *amqp.Channel
}

func newQueues(t *testing.T, url string) *queues {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	channel, err := conn.Channel()
	require.NoError(t, err)
	q := &queues{t: t, name: "test." + t.Name(), channel: channel}
	t.Cleanup(func() {
		for _, name := range []string{q.name, q.dead()} {
			_, err := channel.QueueDelete(name, false, false, false)
			require.NoError(t, err)
		}
		require.NoError(t, conn.Close())
	})
	return q
}

func (q *queues) dead() string { return q.name + ".dead" }

// publish sends messages and returns when the broker has them.
func (q *queues) publish(messages ...amqp.Publishing) {
	q.t.Helper()
	require.NoError(q.t, q.channel.Confirm(false))
	for _, message := range messages {
		message.DeliveryMode = amqp.Persistent
		confirm, err := q.channel.PublishWithDeferredConfirm("", q.name, true, false, message)
		require.NoError(q.t, err)
		require.True(q.t, confirm.Wait())
	}
}

// ready is how many messages wait in a queue, without those that a consumer holds.
func (q *queues) ready(name string) int {
	q.t.Helper()
	queue, err := q.channel.QueueDeclarePassive(name, true, false, false, false, nil)
	require.NoError(q.t, err)
	return queue.Messages
}

// letters takes n dead letters out of their queue.
func (q *queues) letters(n int) (found []amqp.Delivery) {
	q.t.Helper()
	eventually(q.t, fmt.Sprintf("%d dead letters", n), func() bool { return q.ready(q.dead()) >= n })
	for range n {
		letter, ok, err := q.channel.Get(q.dead(), true)
		require.NoError(q.t, err)
		require.True(q.t, ok)
		found = append(found, letter)
	}
	require.Zero(q.t, q.ready(q.dead()))
	return found
}

func bodies(texts []string) []amqp.Publishing {
	messages := make([]amqp.Publishing, len(texts))
	for i, text := range texts {
		messages[i] = amqp.Publishing{Body: []byte(text), MessageId: fmt.Sprint(i)}
	}
	return messages
}

func (q *queues) options(url string, counter events.Counter) events.RabbitMQOptions {
	return events.RabbitMQOptions{ConsumerOptions: consumerOptions(q.t, counter), URL: url, Queue: q.name, Prefetch: 100}
}

// consume starts a consumer and returns when it has declared its queues and taken hold of its own.
func (q *queues) consume(options events.RabbitMQOptions) (stop func()) {
	q.t.Helper()
	stop = running(q.t, events.NewRabbitMQ(options).Run)
	testkit.Eventually(q.t, "the queue is consumed", func(context.Context) error {
		conn, err := amqp.Dial(options.URL)
		if err != nil {
			return err
		}
		defer conn.Close()
		channel, err := conn.Channel()
		if err != nil {
			return err
		}
		queue, err := channel.QueueDeclarePassive(q.name, true, false, false, false, nil)
		if err == nil && queue.Consumers == 0 {
			err = fmt.Errorf("no consumer yet")
		}
		return err
	})
	return stop
}

// requireEmpty is for after the consumer's end: what it had not acknowledged would be back.
func (q *queues) requireEmpty() {
	q.t.Helper()
	eventually(q.t, "nothing goes back to the queue", func() bool {
		queue, err := q.channel.QueueDeclarePassive(q.name, true, false, false, false, nil)
		require.NoError(q.t, err)
		return queue.Consumers == 0
	})
	require.Zero(q.t, q.ready(q.name), "all messages were acknowledged")
}

// cable is a TCP connection to the broker that can be cut.
type cable struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	open     []net.Conn
}

func newCable(t *testing.T, brokerURL string) (c *cable, cableURL string) {
	t.Helper()
	parsed, err := url.Parse(brokerURL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c = &cable{listener: listener, target: parsed.Host}
	parsed.Host = listener.Addr().String()
	go c.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		c.cut()
	})
	return c, parsed.String()
}

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		c.mu.Lock()
		c.open = append(c.open, near, far)
		c.mu.Unlock()
		go func() { _, _ = io.Copy(far, near) }()
		go func() { _, _ = io.Copy(near, far) }()
	}
}

// cut ends all connections that are open now.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

func TestRabbitMQTakesEveryForm(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	var counter memory
	stop := q.consume(q.options(url, &counter))
	cloud := amqp.Table{"cloudEvents:specversion": "1.0", "cloudEvents:id": "1", "cloudEvents:source": "/game"}
	older := amqp.Table{"cloudEvents_specversion": "1.0", "cloudEvents_id": "1", "cloudEvents_source": "/game"}
	twice := noted("twice")
	q.publish(
		amqp.Publishing{Body: []byte(noted("object"))},
		amqp.Publishing{Body: []byte("[" + noted("array-0") + "," + noted("array-1") + "]"), ContentType: "application/json"},
		amqp.Publishing{Body: []byte(noted("line-0") + "\n" + noted("line-1")), ContentType: "application/x-ndjson"},
		amqp.Publishing{Body: []byte(envelope("7", `,"data":`+noted("structured"))), ContentType: "application/cloudevents+json"},
		amqp.Publishing{Body: []byte(noted("binary")), Headers: cloud},
		amqp.Publishing{Body: []byte(noted("binary")), Headers: older},
		amqp.Publishing{Body: []byte(twice), MessageId: "1"},
		amqp.Publishing{Body: []byte(twice), MessageId: "2"}, // two equal bets
		amqp.Publishing{Body: []byte(twice), MessageId: "2"}, // and one of them again
		amqp.Publishing{Body: []byte(twice), MessageId: "2", AppId: "another"},
	)
	counter.waitFor(t, 10)
	stop()
	q.requireEmpty()
	require.Equal(t, []string{"array-0", "array-1", "binary", "line-0", "line-1", "object", "structured", "twice", "twice", "twice"}, counter.notes())
	_, duplicates, _ := counter.statistics()
	require.Equal(t, 2, duplicates)
}

func TestRabbitMQPoisonGoesToTheDeadLetters(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	var counter memory
	stop := q.consume(q.options(url, &counter))
	bad := `{"user_id":"u1","event_type":"bet_placed"}`
	q.publish(
		amqp.Publishing{Body: []byte("\x00\xff\x13\x37random"), MessageId: "poison", Headers: amqp.Table{"trace": "t1"}},
		amqp.Publishing{Body: []byte("[" + noted("good-0") + "," + bad + "," + noted("good-1") + "]"), MessageId: "mixed"},
		amqp.Publishing{}, // no body at all
		amqp.Publishing{Body: []byte("<bet/>"), ContentType: "application/xml"},
		amqp.Publishing{Body: []byte(noted("good-2"))},
	)
	counter.waitFor(t, 3)
	byReason := map[any]amqp.Delivery{}
	for _, letter := range q.letters(4) {
		require.NotEmpty(t, letter.Headers["quickpass-message"])
		require.Contains(t, letter.Headers["quickpass-origin"], q.name)
		require.Equal(t, amqp.Persistent, letter.DeliveryMode)
		byReason[letter.Headers["quickpass-reason"]] = letter
	}
	poison := byReason[events.CodeInvalidJSON]
	require.Equal(t, []any{"\x00\xff\x13\x37random", "poison", "t1"}, []any{string(poison.Body), poison.MessageId, poison.Headers["trace"]})
	require.Empty(t, byReason[events.CodeEmpty].Body)
	require.Equal(t, "<bet/>", string(byReason[events.CodeUnsupportedMediaType].Body))
	missing := byReason["missing_field"]
	require.Equal(t, bad, string(missing.Body), "of several events only the bad one")
	require.Equal(t, int32(1), missing.Headers["quickpass-index"])
	require.Empty(t, missing.MessageId, "it would have the identity of another event of the message")

	q.publish(amqp.Publishing{Body: []byte(noted("later"))})
	counter.waitFor(t, 4)
	stop()
	q.requireEmpty()
}

func TestRabbitMQEventThatTheDatabaseRefusesGoesAlone(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	texts, notes := several("event", 37)
	counter := memory{refuse: "event-21"}
	stop := q.consume(q.options(url, &counter))
	q.publish(bodies(texts)...)
	counter.waitFor(t, 36)
	require.Equal(t, slices.DeleteFunc(notes, func(n string) bool { return n == "event-21" }), counter.notes())
	letter := q.letters(1)[0]
	require.Equal(t, events.CodeNotStorable, letter.Headers["quickpass-reason"])
	require.Equal(t, texts[21], string(letter.Body))
	stop()
	q.requireEmpty()
}

// Poison whose dead letter cannot be written is not acknowledged; the queue is declared again, and nothing is lost.
func TestRabbitMQLosesNoDeadLetter(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	var counter memory
	stop := q.consume(q.options(url, &counter))
	_, err := q.channel.QueueDelete(q.dead(), false, false, false)
	require.NoError(t, err)
	q.publish(amqp.Publishing{Body: []byte("poison")}, amqp.Publishing{Body: []byte(noted("good"))})
	testkit.Eventually(t, "the dead letter", func(context.Context) error {
		conn, err := amqp.Dial(url)
		if err != nil {
			return err
		}
		defer conn.Close()
		channel, err := conn.Channel()
		if err != nil {
			return err
		}
		queue, err := channel.QueueDeclarePassive(q.dead(), true, false, false, false, nil)
		if err == nil && queue.Messages != 1 {
			err = fmt.Errorf("%d dead letters", queue.Messages)
		}
		return err
	})
	counter.waitFor(t, 1)
	stop()
	q.requireEmpty()
	require.Equal(t, "poison", string(q.letters(1)[0].Body))
}

// The connection is cut after the events were counted and before they are acknowledged.
func TestRabbitMQRedeliveryChangesNothing(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	line, through := newCable(t, url)
	texts, notes := several("event", 20)
	counter := memory{entered: make(chan struct{}, 1000), hold: make(chan struct{})}
	stop := q.consume(q.options(through, &counter))
	q.publish(bodies(texts)...)
	<-counter.entered
	line.cut()
	close(counter.hold)
	counter.waitFor(t, 20)
	eventually(t, "the first batch came again", func() bool { _, duplicates, _ := counter.statistics(); return duplicates > 0 })
	q.publish(amqp.Publishing{Body: []byte(noted("later"))})
	counter.waitFor(t, 21)
	stop()
	q.requireEmpty()
	require.Equal(t, append(notes, "later"), counter.notes())
}

func TestRabbitMQConnectsAgain(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	line, through := newCable(t, url)
	var counter memory
	stop := q.consume(q.options(through, &counter))
	for i := range 3 {
		q.publish(amqp.Publishing{Body: []byte(noted(fmt.Sprint(i)))})
		counter.waitFor(t, i+1)
		line.cut()
	}
	q.publish(amqp.Publishing{Body: []byte(noted("3"))})
	counter.waitFor(t, 4)
	stop()
	require.Equal(t, []string{"0", "1", "2", "3"}, counter.notes())
}

// The database is away for a while: nothing is acknowledged and nothing is lost.
func TestRabbitMQWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	var counter memory
	counter.down.Store(true)
	stop := q.consume(q.options(url, &counter))
	texts, notes := several("event", 20)
	q.publish(bodies(texts)...)
	eventually(t, "the counter was asked again", func() bool { _, _, calls := counter.statistics(); return calls >= 3 })
	stop()
	eventually(t, "all messages are back", func() bool { return q.ready(q.name) == 20 })

	counter.down.Store(false)
	stop = q.consume(q.options(url, &counter))
	counter.waitFor(t, 20)
	stop()
	q.requireEmpty()
	require.Equal(t, notes, counter.notes())
}

// A stop lets the batch that is being counted end, and acknowledges it.
func TestRabbitMQStopFinishesTheBatch(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	counter := memory{entered: make(chan struct{}), hold: make(chan struct{})}
	_, err := q.channel.QueueDeclare(q.name, true, false, false, false, amqp.Table{
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": q.dead(),
	})
	require.NoError(t, err)
	q.publish(amqp.Publishing{Body: []byte(noted("last"))})
	cancel, ended := start(t, events.NewRabbitMQ(q.options(url, &counter)).Run)
	<-counter.entered
	cancel()
	close(counter.hold)
	<-ended
	q.requireEmpty()
	require.Equal(t, []string{"last"}, counter.notes())
}

func TestRabbitMQTakesAQueueThatSomebodyMade(t *testing.T) {
	t.Parallel()
	url := testkit.AMQPURL(t)
	q := newQueues(t, url)
	_, err := q.channel.QueueDeclare(q.name, true, false, false, false, amqp.Table{"x-max-length": int32(1000)})
	require.NoError(t, err)
	q.publish(amqp.Publishing{Body: []byte(noted("waiting"))})
	var counter memory
	stop := q.consume(q.options(url, &counter))
	counter.waitFor(t, 1)
	stop()
	q.requireEmpty()
}

// The broker is killed in the middle of a stream: what it had taken is counted once after it is back.
func TestRabbitMQIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	broker, err := devstack.StartRabbitMQ(t.Context(), devstack.RabbitMQOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Stop(context.WithoutCancel(t.Context()))) })
	texts, notes := several("event", 200)
	var counter memory
	counter.entered, counter.hold = make(chan struct{}, 1000), make(chan struct{})

	// RabbitMQ has a queue on disk only a moment after it was declared, and for sure after a stop in order.
	before := &queues{t: t, name: "test"}
	before.consume(before.options(broker.URL(), &counter))()
	require.NoError(t, broker.Restart(t.Context()))

	before.channel = dial(t, broker.URL())
	stop := before.consume(before.options(broker.URL(), &counter))
	before.publish(bodies(texts)...)
	<-counter.entered // and more are under way
	require.NoError(t, broker.Kill())
	close(counter.hold)
	require.NoError(t, broker.Restart(t.Context()))
	counter.waitFor(t, 200)

	after := &queues{t: t, name: "test", channel: dial(t, broker.URL())}
	after.publish(amqp.Publishing{Body: []byte(noted("later"))})
	counter.waitFor(t, 201)
	stop()
	after.requireEmpty()
	require.Equal(t, append(notes, "later"), counter.notes())
}

func dial(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // it may be broken by then
	channel, err := conn.Channel()
	require.NoError(t, err)
	return channel
}
