package events_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/testkit"
)

const (
	topic      = "quickpass.events"
	deadTopic  = "quickpass.events.dead"
	group      = "quickpass"
	partitions = 4
)

func newCluster(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic), kfake.DefaultNumPartitions(2)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster
}

func kafkaClient(t *testing.T, cluster *kfake.Cluster, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func produce(t *testing.T, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	for i, record := range records {
		record.Topic = topic
		record.Key = fmt.Append(nil, i)
	}
	require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
}

func values(bodies []string) []*kgo.Record {
	records := make([]*kgo.Record, len(bodies))
	for i, body := range bodies {
		records[i] = &kgo.Record{Value: []byte(body)}
	}
	return records
}

func kafkaOptions(t *testing.T, cluster *kfake.Cluster, counter events.Counter) events.KafkaOptions {
	return events.KafkaOptions{
		ConsumerOptions: consumerOptions(t, counter),
		Brokers:         cluster.ListenAddrs(),
		Topic:           topic,
		Group:           group,
		DeadLetterTopic: deadTopic,
	}
}

func consume(t *testing.T, options events.KafkaOptions) (stop func()) {
	t.Helper()
	consumer, err := events.NewKafka(options)
	require.NoError(t, err)
	return running(t, consumer.Run)
}

// committed is the sum of the group's offsets: how many records it will not get again.
func committed(t *testing.T, client *kgo.Client) int64 {
	t.Helper()
	offsets, err := kadm.NewClient(client).FetchOffsets(t.Context(), group)
	require.NoError(t, err)
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

func waitCommitted(t *testing.T, client *kgo.Client, n int64) {
	t.Helper()
	testkit.Eventually(t, "the offsets are committed", func(context.Context) error {
		if sum := committed(t, client); sum != n {
			return fmt.Errorf("offsets %d, want %d", sum, n)
		}
		return nil
	})
}

// letters reads n dead letters.
func letters(t *testing.T, cluster *kfake.Cluster, n int) []*kgo.Record {
	t.Helper()
	client := kafkaClient(t, cluster, kgo.ConsumeTopics(deadTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(10*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var found []*kgo.Record
	for len(found) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "%d dead letters of %d", len(found), n)
		found = append(found, fetches.Records()...)
	}
	require.Len(t, found, n)
	return found
}

func headers(record *kgo.Record) map[string]string {
	all := map[string]string{}
	for _, h := range record.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func TestKafkaTakesEveryForm(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	header := func(pairs ...string) (all []kgo.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return all
	}
	cloud := header("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/game", "content-type", "application/json")
	produce(t, client,
		&kgo.Record{Value: []byte(noted("object"))},
		&kgo.Record{Value: []byte("[" + noted("array-0") + "," + noted("array-1") + "]")},
		&kgo.Record{Value: []byte(noted("line-0") + "\n" + noted("line-1")), Headers: header("content-type", "application/x-ndjson")},
		&kgo.Record{
			Value:   []byte(envelope("7", `,"data":`+noted("structured"))),
			Headers: header("content-type", "application/cloudevents+json"),
		},
		&kgo.Record{Value: []byte(noted("binary")), Headers: cloud},
		&kgo.Record{Value: []byte(noted("binary")), Headers: cloud}, // the same CloudEvent at another offset
		&kgo.Record{Value: []byte(noted("twice"))},
		&kgo.Record{Value: []byte(noted("twice"))}, // two equal bets
	)
	var counter memory
	consume(t, kafkaOptions(t, cluster, &counter))
	counter.waitFor(t, 9)
	waitCommitted(t, client, 8)
	require.Equal(t, []string{"array-0", "array-1", "binary", "line-0", "line-1", "object", "structured", "twice", "twice"}, counter.notes())
	_, duplicates, _ := counter.statistics()
	require.Equal(t, 1, duplicates)
}

// Random bytes and rejected events go to the dead letters, each with its reason, and the consumer goes on.
// The topic of the dead letters does not exist before, and the brokers don't make it on their own.
func TestKafkaPoisonGoesToTheDeadLetters(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	bad := `{"user_id":"u1","event_type":"bet_placed"}`
	produce(t, client,
		&kgo.Record{Value: []byte("\x00\xff\x13\x37random"), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("t1")}}},
		&kgo.Record{
			Value:   []byte("[" + noted("good-0") + "," + bad + "," + noted("good-1") + "]"),
			Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}, {Key: "ce_source", Value: []byte("s")}},
		},
		&kgo.Record{}, // no value at all
		&kgo.Record{Value: []byte("<bet/>"), Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/xml")}}},
		&kgo.Record{Value: []byte(noted("good-2"))},
	)
	var counter memory
	consume(t, kafkaOptions(t, cluster, &counter))
	counter.waitFor(t, 3)
	waitCommitted(t, client, 5)
	produce(t, client, &kgo.Record{Value: []byte(noted("later"))})
	counter.waitFor(t, 4)

	byReason := map[string]*kgo.Record{}
	for _, letter := range letters(t, cluster, 4) {
		h := headers(letter)
		require.NotEmpty(t, h["quickpass-message"])
		require.True(t, strings.HasPrefix(h["quickpass-origin"], topic+"/"), h["quickpass-origin"])
		byReason[h["quickpass-reason"]] = letter
	}
	require.Equal(t, "\x00\xff\x13\x37random", string(byReason[events.CodeInvalidJSON].Value))
	require.Equal(t, "t1", headers(byReason[events.CodeInvalidJSON])["trace"], "a message that is kept whole keeps its headers")
	require.Empty(t, byReason[events.CodeEmpty].Value)
	require.Equal(t, "<bet/>", string(byReason[events.CodeUnsupportedMediaType].Value))
	missing := byReason["missing_field"]
	require.Equal(t, bad, string(missing.Value), "of several events only the bad one")
	require.Equal(t, "1", headers(missing)["quickpass-index"])
	require.NotContains(t, headers(missing), "ce_id", "it would have the identity of the first")
}

func TestKafkaEventThatTheDatabaseRefusesGoesAlone(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	bodies, notes := several("event", 37)
	counter := memory{refuse: "event-21"}
	produce(t, client, values(bodies)...)
	consume(t, kafkaOptions(t, cluster, &counter))
	counter.waitFor(t, 36)
	waitCommitted(t, client, 37)
	require.Equal(t, slices.DeleteFunc(notes, func(n string) bool { return n == "event-21" }), counter.notes())
	letter := letters(t, cluster, 1)[0]
	require.Equal(t, events.CodeNotStorable, headers(letter)["quickpass-reason"])
	require.Equal(t, bodies[21], string(letter.Value))
}

// While the dead letters can't be written nothing is committed; then nothing is lost.
func TestKafkaWaitsForTheDeadLetterTopic(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	refused := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	produce(t, client, &kgo.Record{Value: []byte("poison")}, &kgo.Record{Value: []byte(noted("good"))})
	var counter memory
	stop := consume(t, kafkaOptions(t, cluster, &counter))
	counter.waitFor(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, refused.Wait(ctx, 2))
	require.Zero(t, committed(t, client))
	stop()
	require.Zero(t, committed(t, client), "a stop commits nothing that has no dead letter yet")

	refused.Remove()
	consume(t, kafkaOptions(t, cluster, &counter))
	waitCommitted(t, client, 2)
	require.Equal(t, "poison", string(letters(t, cluster, 1)[0].Value))
	counted, duplicates, _ := counter.statistics()
	require.Equal(t, []int{1, 1}, []int{counted, duplicates}, "the good one came twice and counted once")
}

func TestKafkaCutsDeadLettersThatAreTooLarge(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, deadTopic))
	client := kafkaClient(t, cluster)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: deadTopic, Err: kerr.MessageTooLarge})
	poison := strings.Repeat("x", 100<<10)
	produce(t, client, &kgo.Record{Value: []byte(poison)})
	consume(t, kafkaOptions(t, cluster, &memory{}))
	letter := letters(t, cluster, 1)[0]
	require.Equal(t, poison[:64<<10], string(letter.Value))
	require.Equal(t, "true", headers(letter)["quickpass-truncated"])
	waitCommitted(t, client, 1)
}

// The database is away for a while: nothing is committed and nothing is lost.
func TestKafkaWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	bodies, notes := several("event", 20)
	produce(t, client, values(bodies)...)
	var counter memory
	counter.down.Store(true)
	consume(t, kafkaOptions(t, cluster, &counter))
	eventually(t, "the counter was asked again", func() bool { _, _, calls := counter.statistics(); return calls >= 3 })
	require.Zero(t, committed(t, client))
	counter.down.Store(false)
	counter.waitFor(t, 20)
	waitCommitted(t, client, 20)
	require.Equal(t, notes, counter.notes())
}

// The consumer ends after the events are counted and before its offsets are committed, as a crash would have it.
func TestKafkaRedeliveryChangesNothing(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	bodies, notes := several("event", 20)
	produce(t, client, values(bodies)...)
	refused := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownMemberID, Count: -1})
	var counter memory
	stop := consume(t, kafkaOptions(t, cluster, &counter))
	counter.waitFor(t, 20)
	stop()
	require.Zero(t, committed(t, client))

	refused.Remove()
	consume(t, kafkaOptions(t, cluster, &counter))
	waitCommitted(t, client, 20)
	counted, duplicates, _ := counter.statistics()
	require.Equal(t, []int{20, 20}, []int{counted, duplicates})
	require.Equal(t, notes, counter.notes())
}

// A stop lets the batch that is being counted end, and commits it.
func TestKafkaStopFinishesTheBatch(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	produce(t, client, &kgo.Record{Value: []byte(noted("last"))})
	counter := memory{entered: make(chan struct{}), hold: make(chan struct{})}
	consumer, err := events.NewKafka(kafkaOptions(t, cluster, &counter))
	require.NoError(t, err)
	cancel, ended := start(t, consumer.Run)
	<-counter.entered
	cancel()
	close(counter.hold)
	<-ended
	require.Equal(t, []string{"last"}, counter.notes())
	require.Equal(t, int64(1), committed(t, client))
}

// Members come and go while events flow: each event is counted, and none twice.
func TestKafkaGroupChangesWhileEventsFlow(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	client := kafkaClient(t, cluster)
	bodies, notes := several("event", 400)
	var counter memory
	first := consume(t, kafkaOptions(t, cluster, &counter))
	produce(t, client, values(bodies[:100])...)
	counter.waitFor(t, 100)
	consume(t, kafkaOptions(t, cluster, &counter))
	produce(t, client, values(bodies[100:250])...)
	counter.waitFor(t, 250)
	first()
	produce(t, client, values(bodies[250:])...)
	counter.waitFor(t, 400)
	waitCommitted(t, client, 400)
	require.Equal(t, notes, counter.notes())
}

func TestKafkaSignsIn(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := newCluster(t, kfake.EnableSASL(), kfake.Superuser(method, "quickpass", "secret"), kfake.Superuser("PLAIN", "test", "test"))
			var counter memory
			options := kafkaOptions(t, cluster, &counter)
			options.SASL, options.User, options.Password = name, "quickpass", "secret"
			consume(t, options)
			produce(t, kafkaClient(t, cluster, kgo.SASL(plain.Auth{
				User: "test",
				Pass: "test",
			}.AsMechanism())), &kgo.Record{Value: []byte(noted("secret"))})
			counter.waitFor(t, 1)
		})
	}
	_, err := events.NewKafka(events.KafkaOptions{SASL: "kerberos"})
	require.ErrorContains(t, err, "kerberos")
}
