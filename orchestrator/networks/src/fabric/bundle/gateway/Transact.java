import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.hyperledger.fabric.client.Contract;
import org.hyperledger.fabric.client.Gateway;
import org.hyperledger.fabric.client.identity.Identities;
import org.hyperledger.fabric.client.identity.Signers;
import org.hyperledger.fabric.client.identity.X509Identity;

/**
 * Submits a transaction through the gateway of an organisation's peer, with the files of the bundle.
 *
 * <pre>
 * mvn -q compile exec:java                          commits through the first organisation, reads through the last
 * mvn -q compile exec:java -Dexec.args="ORGANISATION submit FUNCTION [ARGUMENT…]"
 * mvn -q compile exec:java -Dexec.args="ORGANISATION evaluate FUNCTION [ARGUMENT…]"
 * </pre>
 */
public final class Transact {
    private static final Path BUNDLE = Path.of("..", "..");

    private interface Use {
        byte[] of(Contract contract) throws Exception;
    }

    public static void main(String[] given) throws Exception {
        var network = json("network.json");
        var channel = network.get("channel").getAsString();
        var organisations = network.getAsJsonArray("organisations");
        var first = organisations.get(0).getAsString();
        var last = organisations.get(organisations.size() - 1).getAsString();
        if (network.get("chaincode").isJsonNull()) {
            var info = with(first, channel, "qscc", qscc -> qscc.evaluateTransaction("GetChainInfo", channel));
            System.out.printf("no chaincode is deployed; %s answers for channel %s with %d bytes of chain info%n", first, channel, info.length);
            return;
        }
        var chaincode = network.get("chaincode").getAsString();
        if (given.length >= 3) {
            transact(channel, chaincode, given);
        } else {
            transact(channel, chaincode, first, "submit", "put", "name", "satoshi");
            transact(channel, chaincode, last, "evaluate", "get", "name");
        }
    }

    private static void transact(String channel, String chaincode, String... words) throws Exception {
        var args = Arrays.copyOfRange(words, 3, words.length);
        var answer = with(words[0], channel, chaincode, contract -> switch (words[1]) {
            case "submit" -> contract.submitTransaction(words[2], args);
            case "evaluate" -> contract.evaluateTransaction(words[2], args);
            default -> throw new IllegalArgumentException("say submit or evaluate, not " + words[1]);
        });
        System.out.println(String.join(" ", words) + ": " + new String(answer, StandardCharsets.UTF_8));
    }

    /** Uses a contract through a gateway that signs as the organisation's user, or as whom the variable IDENTITY names. */
    private static byte[] with(String organisation, String channel, String chaincode, Use use) throws Exception {
        var profile = json(organisation + "/connection.json");
        var commitSeconds = json("network.json").get("commitSeconds").getAsLong();
        var member = profile.getAsJsonObject("organizations").getAsJsonObject(organisation);
        var peer = profile.getAsJsonObject("peers").getAsJsonObject(member.getAsJsonArray("peers").get(0).getAsString());
        var roots = peer.getAsJsonObject("tlsCACerts").get("pem").getAsString().getBytes(StandardCharsets.UTF_8);
        var tls = TlsChannelCredentials.newBuilder().trustManager(new ByteArrayInputStream(roots)).build();
        ManagedChannel connection = Grpc.newChannelBuilder(peer.get("url").getAsString().replace("grpcs://", ""), tls).build();
        var folder = BUNDLE.resolve(organisation).resolve(System.getenv().getOrDefault("IDENTITY", "user")).resolve("msp");
        var certificate = Identities.readX509Certificate(Files.newBufferedReader(folder.resolve("signcerts/cert.pem")));
        var key = Identities.readPrivateKey(Files.newBufferedReader(folder.resolve("keystore/key.pem")));
        var builder = Gateway.newInstance()
                .identity(new X509Identity(member.get("mspid").getAsString(), certificate))
                .signer(Signers.newPrivateKeySigner(key))
                .connection(connection)
                .evaluateOptions(options -> options.withDeadlineAfter(5, TimeUnit.SECONDS))
                .endorseOptions(options -> options.withDeadlineAfter(15, TimeUnit.SECONDS))
                .submitOptions(options -> options.withDeadlineAfter(5, TimeUnit.SECONDS))
                // An accepted transaction may still be lost when the orderers elect another leader. The timeout ends the wait.
                .commitStatusOptions(options -> options.withDeadlineAfter(commitSeconds, TimeUnit.SECONDS));
        try (Gateway gateway = builder.connect()) {
            return use.of(gateway.getNetwork(channel).getContract(chaincode));
        } finally {
            connection.shutdownNow();
        }
    }

    private static JsonObject json(String path) throws Exception {
        return JsonParser.parseString(Files.readString(BUNDLE.resolve(path))).getAsJsonObject();
    }
}
