// SPDX-License-Identifier: Apache-2.0
// Prints what Kafka's own reader finds in a leader-epoch-checkpoint: one line of epoch and start offset each.
import java.io.File;

import org.apache.kafka.storage.internals.checkpoint.LeaderEpochCheckpointFile;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;

public class LeaderEpochs {
    public static void main(String[] args) throws Exception {
        new LeaderEpochCheckpointFile(new File(args[0]), new LogDirFailureChannel(1))
            .read()
            .forEach(e -> System.out.println(e.epoch + " " + e.startOffset));
    }
}
