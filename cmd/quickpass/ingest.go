package main

import (
	"context"
	"sync"
	"time"

	"github.com/quickpass/quickpass/api"
	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

const (
	eventBatch = 500 // events that one transaction takes, as a rule
	eventQueue = 64  // requests that wait for a writer; more wait at the door
)

func newIntake(c config.Config, db *postgres.DB, box *outbox.Outbox) *events.Intake {
	return events.NewIntake(db, events.IntakeOptions{Writers: c.Events.Writers, Batch: eventBatch, Queue: eventQueue, Clock: time.Now,
		Tell: func(windows []postgres.TaskWindowChange) { box.OfferTaskWindows(windows...) }})
}

func eventDecoder(c config.Config) events.Decoder {
	return events.Decoder{
		Limits:    tasks.EventLimits{MaxAge: c.Events.MaxAge, MaxAhead: c.Events.MaxAhead},
		MaxBytes:  c.Events.MaxBodyBytes,
		MaxEvents: c.Events.MaxEvents,
	}
}

// eventIntake is what the API's doors for events need.
func eventIntake(c config.Config, intake *events.Intake) (api.EventIntake, error) {
	doors := api.EventIntake{Counter: intake, Decoder: eventDecoder(c), WebhookProject: int32(c.Events.Project)}
	if len(c.Events.WebhookSecrets) == 0 {
		return doors, nil
	}
	var err error
	doors.Webhook, err = events.NewWebhookVerifier(c.Events.WebhookSecrets)
	return doors, err
}

// paymentWebhook checks notifications of payments; nil when none are taken.
func paymentWebhook(c config.Config) (*events.WebhookVerifier, error) {
	if len(c.Payments.WebhookSecrets) == 0 {
		return nil, nil
	}
	return events.NewWebhookVerifier(c.Payments.WebhookSecrets)
}

// startConsumers consumes from the brokers that are set up until ctx ends, if that is a role of the process;
// stop waits for what is under way.
func (p *process) startConsumers(ctx context.Context) (stop func(), err error) {
	if !p.roles.ingest {
		return func() {}, nil
	}
	c, logger := p.config, p.logger
	options := events.ConsumerOptions{ProjectID: int32(c.Events.Project), Decoder: eventDecoder(c), Counter: p.intake, Logger: logger}
	var running sync.WaitGroup
	if len(c.Kafka.Brokers) > 0 {
		kafka, err := events.NewKafka(events.KafkaOptions{
			ConsumerOptions: options,
			Brokers:         c.Kafka.Brokers,
			Topic:           c.Kafka.Topic,
			Group:           c.Kafka.Group,
			DeadLetterTopic: c.Kafka.DeadLetterTopic,
			TLS:             c.Kafka.TLS,
			SASL:            c.Kafka.SASL,
			User:            c.Kafka.User,
			Password:        c.Kafka.Password,
		})
		if err != nil {
			return nil, err
		}
		logger.Info("events are consumed from Kafka", "topic", c.Kafka.Topic, "group", c.Kafka.Group)
		running.Go(func() { kafka.Run(ctx) })
	}
	if c.AMQP.URL != "" {
		rabbit := events.NewRabbitMQ(events.RabbitMQOptions{
			ConsumerOptions: options,
			URL:             c.AMQP.URL,
			Queue:           c.AMQP.Queue,
			Prefetch:        c.AMQP.Prefetch,
		})
		logger.Info("events are consumed from RabbitMQ", "queue", c.AMQP.Queue)
		running.Go(func() { rabbit.Run(ctx) })
	}
	return running.Wait, nil
}
