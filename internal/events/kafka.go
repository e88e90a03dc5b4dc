package events

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	kafkaPoll          = 1000             // records at once
	kafkaFetchBytes    = 8 << 20          // that a broker may send at once: the bound of the memory that waiting records take
	kafkaMetadataAge   = 30 * time.Second // how long a topic that is made later goes unnoticed
	kafkaCommitTimeout = 10 * time.Second
	kafkaSession       = 15 * time.Second // after which the group gives the partitions of a process that was killed to another
	kafkaCutTo         = 64 << 10         // bytes that are kept of a dead letter that is too large
)

// KafkaOptions say which topic is consumed. Brokers, Topic, Group and DeadLetterTopic are needed.
type KafkaOptions struct {
	ConsumerOptions
	Brokers         []string // host and port
	Topic           string
	Group           string
	DeadLetterTopic string // made when it does not exist
	TLS             bool
	SASL            string // plain, scram-sha-256, scram-sha-512; empty: none
	User            string
	Password        string
}

// Kafka consumes a topic as a member of a consumer group. Offsets are committed after the events are, so each record is
// counted at least once, and its key makes that once.
type Kafka struct {
	options   KafkaOptions
	client    *kgo.Client
	topicMade bool // the dead letters' topic is known to exist
}

// NewKafka makes a consumer. It connects when it runs.
func NewKafka(options KafkaOptions) (*Kafka, error) {
	settings := []kgo.Opt{
		kgo.ClientID("quickpass"),
		kgo.SeedBrokers(options.Brokers...),
		kgo.ConsumeTopics(options.Topic),
		kgo.ConsumerGroup(options.Group),
		kgo.SessionTimeout(kafkaSession),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // a partition is given away between batches
		kgo.FetchMaxBytes(kafkaFetchBytes),
		kgo.MetadataMaxAge(kafkaMetadataAge),
		kgo.UnknownTopicRetries(1), // of the dead letters: the topic is made, then tried again
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if options.TLS {
		settings = append(settings, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	switch options.SASL {
	case "":
	case "plain":
		settings = append(settings, kgo.SASL(plain.Auth{User: options.User, Pass: options.Password}.AsMechanism()))
	case "scram-sha-256":
		settings = append(settings, kgo.SASL(scram.Auth{User: options.User, Pass: options.Password}.AsSha256Mechanism()))
	case "scram-sha-512":
		settings = append(settings, kgo.SASL(scram.Auth{User: options.User, Pass: options.Password}.AsSha512Mechanism()))
	default:
		return nil, fmt.Errorf("unknown SASL mechanism %q", options.SASL)
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Kafka{options: options, client: client}, nil
}

// Run consumes until ctx ends, and then leaves the group. Brokers that are away are waited for. It may be called once.
func (k *Kafka) Run(ctx context.Context) {
	defer k.client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := k.client.PollRecords(ctx, kafkaPoll)
		failed := false
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil {
				failed = true
				k.options.Logger.Warn("reading from Kafka failed and is tried again", "topic", topic, "partition", partition, "error", err)
			}
		})
		if records := fetches.Records(); len(records) > 0 {
			k.take(ctx, records)
		}
		k.client.AllowRebalance()
		if failed {
			pause(ctx, time.Second)
		}
	}
}

// take counts the records, then commits their offsets. What is not committed comes again.
func (k *Kafka) take(ctx context.Context, records []*kgo.Record) {
	messages := make([]Message, len(records))
	for i, record := range records {
		messages[i] = kafkaMessage(record)
	}
	dead, err := k.options.process(ctx, messages)
	if err == nil && len(dead) > 0 {
		err = k.produce(ctx, records, dead)
	}
	if err != nil {
		return // ctx has ended
	}
	commitCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kafkaCommitTimeout)
	defer cancel()
	if err := k.client.CommitRecords(commitCtx, records...); err != nil {
		// Either the next commit covers it, or another member has the partition by now and counts duplicates.
		k.options.Logger.Warn("committing offsets to Kafka failed", "error", err)
	}
}

func kafkaMessage(record *kgo.Record) Message {
	header := func(name string) string {
		for _, h := range record.Headers {
			if h.Key == name {
				return string(h.Value)
			}
		}
		return ""
	}
	return Message{
		Source:      SourceKafka,
		ContentType: header(headerContent),
		Body:        record.Value,
		CloudEvent:  CloudEventOf(header, "ce_"),
		// With the record's time: a topic that is made anew begins with offset 0 again.
		Transport: []string{SourceKafka, record.Topic, strconv.Itoa(int(record.Partition)), strconv.FormatInt(record.Offset, 10),
			strconv.FormatInt(record.Timestamp.UnixMilli(), 10)},
	}
}

// produce writes the dead letters, and returns when the brokers have them all.
func (k *Kafka) produce(ctx context.Context, from []*kgo.Record, dead []deadLetter) error {
	letters := make([]*kgo.Record, len(dead))
	for i, letter := range dead {
		letters[i] = k.letter(from[letter.message], letter)
	}
	return retry(ctx, k.options.Logger, "writing to the dead-letter topic", func() error {
		return k.produceOnce(ctx, &letters)
	})
}

// produceOnce leaves in letters those that the brokers don't have.
func (k *Kafka) produceOnce(ctx context.Context, letters *[]*kgo.Record) error {
	if !k.topicMade {
		if err := k.createTopic(ctx); err != nil {
			k.options.Logger.Warn("making the dead-letter topic failed", "error", err) // it may exist all the same
		} else {
			k.topicMade = true
		}
	}
	results := k.client.ProduceSync(ctx, *letters...)
	var left []*kgo.Record
	for _, result := range results {
		switch {
		case result.Err == nil:
			continue
		case errors.Is(result.Err, kerr.MessageTooLarge) && len(result.Record.Value) > kafkaCutTo:
			// The whole record stays where it came from for as long as its topic keeps it.
			result.Record.Value = result.Record.Value[:kafkaCutTo]
			result.Record.Headers = append(result.Record.Headers, kgo.RecordHeader{Key: headerCut, Value: []byte("true")})
		case errors.Is(result.Err, kerr.UnknownTopicOrPartition):
			k.topicMade = false
		}
		left = append(left, freshRecord(result.Record))
	}
	*letters = left
	return results.FirstErr()
}

// freshRecord is a record that was never produced: a failed one keeps its partition.
func freshRecord(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

func (k *Kafka) createTopic(ctx context.Context) error {
	const brokersDefault = -1
	_, err := kadm.NewClient(k.client).CreateTopic(ctx, brokersDefault, brokersDefault, nil, k.options.DeadLetterTopic)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

func (k *Kafka) letter(from *kgo.Record, dead deadLetter) *kgo.Record {
	letter := &kgo.Record{Topic: k.options.DeadLetterTopic, Key: from.Key, Value: dead.body}
	if dead.whole {
		letter.Value, letter.Headers = from.Value, append(letter.Headers, from.Headers...)
	} else {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: headerContent, Value: []byte(dead.contentType)})
	}
	for _, h := range [][2]string{
		{headerReason, dead.code}, {headerMessage, dead.reason}, {headerIndex, strconv.Itoa(dead.index)},
		{headerOrigin, fmt.Sprintf("%s/%d/%d", from.Topic, from.Partition, from.Offset)},
	} {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return letter
}
