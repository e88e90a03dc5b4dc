package events

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	rabbitHeartbeat  = 10 * time.Second
	rabbitDial       = 10 * time.Second
	rabbitGather     = 5 * time.Millisecond // how long a batch waits for more, from its first message on
	rabbitPublish    = 100                  // dead letters that are unconfirmed at the same time
	rabbitConfirm    = 30 * time.Second
	deadLetterSuffix = ".dead"
)

// RabbitMQOptions say which queue is consumed.
type RabbitMQOptions struct {
	ConsumerOptions
	URL      string // amqp:// or amqps://
	Queue    string // declared durable when it does not exist; its dead letters are in the queue of this name and ".dead"
	Prefetch int    // messages that may be unacknowledged; half of them are one batch at most
}

// RabbitMQ consumes a queue. Messages are acknowledged after their events are committed, so each is counted at least
// once, and its key makes that once.
type RabbitMQ struct{ options RabbitMQOptions }

// NewRabbitMQ makes a consumer. It connects when it runs.
func NewRabbitMQ(options RabbitMQOptions) *RabbitMQ { return &RabbitMQ{options: options} }

// Run consumes until ctx ends. A broker that is away is waited for; what it had delivered comes again.
func (r *RabbitMQ) Run(ctx context.Context) {
	for delay := firstDelay; ctx.Err() == nil; delay = min(2*delay, longestDelay) {
		consumed, err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if consumed {
			delay = firstDelay
		}
		r.options.Logger.Warn("the connection to RabbitMQ is made again", "error", err, "in", delay)
		pause(ctx, delay)
	}
}

// session is one connection: it ends with the connection or with ctx, and says whether it came to consuming.
func (r *RabbitMQ) session(ctx context.Context) (consumed bool, err error) {
	conn, err := amqp.DialConfig(r.options.URL, amqp.Config{
		Heartbeat:  rabbitHeartbeat,
		Locale:     "en_US",
		Dial:       amqp.DefaultDial(rabbitDial),
		Properties: amqp.Table{"connection_name": "quickpass"},
	})
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(closeTimeout)) }() // what is unacknowledged goes back to the queue
	if err := r.declare(conn); err != nil {
		return false, err
	}
	channel, err := conn.Channel()
	if err != nil {
		return false, fmt.Errorf("open channel: %w", err)
	}
	if err := errors.Join(channel.Confirm(false), channel.Qos(r.options.Prefetch, 0, false)); err != nil {
		return false, fmt.Errorf("set up channel: %w", err)
	}
	returned := channel.NotifyReturn(make(chan amqp.Return, rabbitPublish))
	deliveries, err := channel.Consume(r.options.Queue, "", false, false, false, false, nil)
	if err != nil {
		return false, fmt.Errorf("consume: %w", err)
	}
	for {
		batch := r.gather(ctx, deliveries)
		if len(batch) == 0 {
			return true, errors.New("the connection has ended")
		}
		if err := r.take(ctx, channel, returned, batch); err != nil {
			return true, err
		}
	}
}

// declare makes the two queues. One that somebody has made in another way, or that we may not make, is taken as it is.
func (r *RabbitMQ) declare(conn *amqp.Connection) error {
	dead := r.options.Queue + deadLetterSuffix
	for name, arguments := range map[string]amqp.Table{
		dead:            nil,
		r.options.Queue: {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}, // for what the broker itself drops
	} {
		channel, err := conn.Channel() // a refused declaration ends the channel
		if err != nil {
			return fmt.Errorf("open channel: %w", err)
		}
		_, err = channel.QueueDeclare(name, true, false, false, false, arguments)
		var refused *amqp.Error
		switch {
		case errors.As(err, &refused) && (refused.Code == amqp.PreconditionFailed || refused.Code == amqp.AccessRefused):
			r.options.Logger.Warn("the queue is not declared but used as it is", "queue", name, "error", err)
		case err != nil:
			return fmt.Errorf("declare queue %s: %w", name, err)
		default:
			_ = channel.Close() // it was needed for this only
		}
	}
	return nil
}

// gather waits for a message, and a moment for more. It returns none when the connection or ctx has ended.
func (r *RabbitMQ) gather(ctx context.Context, deliveries <-chan amqp.Delivery) (batch []amqp.Delivery) {
	most := max(1, r.options.Prefetch/2) // while they are counted, the next ones arrive
	var over <-chan time.Time
	for len(batch) < most {
		select {
		case delivery, ok := <-deliveries:
			if !ok {
				return nil // they can't be acknowledged any more
			}
			batch = append(batch, delivery)
			if over == nil {
				over = time.After(rabbitGather)
			}
		case <-over:
			return batch
		case <-ctx.Done():
			return nil
		}
	}
	return batch
}

// take counts the messages, then acknowledges them all at once.
func (r *RabbitMQ) take(ctx context.Context, channel *amqp.Channel, returned <-chan amqp.Return, batch []amqp.Delivery) error {
	messages := make([]Message, len(batch))
	for i, delivery := range batch {
		messages[i] = amqpMessage(delivery)
	}
	dead, err := r.options.process(ctx, messages)
	if err != nil {
		return err
	}
	if err := r.publish(ctx, channel, returned, batch, dead); err != nil {
		return fmt.Errorf("write dead letters: %w", err)
	}
	if err := channel.Ack(batch[len(batch)-1].DeliveryTag, true); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

func amqpMessage(delivery amqp.Delivery) Message {
	header := func(name string) string {
		text, _ := delivery.Headers[name].(string)
		return text
	}
	message := Message{
		Source:      SourceRabbitMQ,
		ContentType: delivery.ContentType,
		Body:        delivery.Body,
		CloudEvent:  CloudEventOf(header, "cloudEvents:"),
	}
	if message.CloudEvent == nil {
		message.CloudEvent = CloudEventOf(header, "cloudEvents_")
	}
	if delivery.MessageId != "" {
		message.Transport = []string{SourceRabbitMQ, delivery.AppId, delivery.MessageId}
	}
	return message
}

// publish writes the dead letters, and returns when the broker has them all.
func (r *RabbitMQ) publish(ctx context.Context, channel *amqp.Channel, returned <-chan amqp.Return, batch []amqp.Delivery, dead []deadLetter) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rabbitConfirm)
	defer cancel()
	for len(dead) > 0 {
		some := dead[:min(len(dead), rabbitPublish)]
		dead = dead[len(some):]
		confirms := make([]*amqp.DeferredConfirmation, len(some))
		for i, letter := range some {
			var err error
			confirms[i], err = channel.PublishWithDeferredConfirmWithContext(ctx, "", r.options.Queue+deadLetterSuffix, true, false, r.letter(batch[letter.message], letter))
			if err != nil {
				return err
			}
		}
		for _, confirm := range confirms {
			taken, err := confirm.WaitContext(ctx)
			if err != nil {
				return err
			}
			if !taken {
				return errors.New("the broker did not take a dead letter")
			}
		}
		if len(returned) > 0 { // the broker tells this before it confirms
			return fmt.Errorf("there is no queue %s", r.options.Queue+deadLetterSuffix)
		}
	}
	return nil
}

func (r *RabbitMQ) letter(from amqp.Delivery, dead deadLetter) amqp.Publishing {
	letter := amqp.Publishing{
		Headers: amqp.Table{}, ContentType: dead.contentType, Body: dead.body,
		DeliveryMode: amqp.Persistent, Timestamp: from.Timestamp, AppId: from.AppId, Type: from.Type,
	}
	if dead.whole {
		letter.ContentType, letter.ContentEncoding, letter.Body, letter.MessageId = from.ContentType, from.ContentEncoding, from.Body, from.MessageId
		maps.Copy(letter.Headers, from.Headers)
		delete(letter.Headers, "CC") // it would be routed there once more
	}
	letter.Headers[headerReason], letter.Headers[headerMessage], letter.Headers[headerIndex] = dead.code, dead.reason, int32(dead.index)
	letter.Headers[headerOrigin] = fmt.Sprintf("%s/%s", r.options.Queue, from.MessageId)
	return letter
}
