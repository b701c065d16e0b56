// Submits a transaction through the gateway of an organisation's peer, with the files of the bundle.
//
//   node transact.mjs                                          commits through the first organisation, reads through the last
//   node transact.mjs ORGANISATION submit FUNCTION [ARGUMENT…]
//   node transact.mjs ORGANISATION evaluate FUNCTION [ARGUMENT…]
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Client, credentials } from '@grpc/grpc-js';
import { connect, hash, signers } from '@hyperledger/fabric-gateway';

const bundle = new URL('../../', import.meta.url);
const file = (path) => readFileSync(new URL(path, bundle));
const json = (path) => JSON.parse(file(path).toString());
const network = json('network.json');

// The identity that signs: its folder holds the certificate and the key.
const who = process.env.IDENTITY || 'user';

const within = (seconds) => () => ({ deadline: Date.now() + seconds * 1000 });

/** Runs `use` with a gateway that signs as the organisation's user. */
async function withGateway(organisation, use) {
  const profile = json(`${organisation}/connection.json`);
  const { mspid: mspId, peers } = profile.organizations[organisation];
  const [name] = peers;
  const peer = profile.peers[name];
  const tls = credentials.createSsl(Buffer.from(peer.tlsCACerts.pem));
  // Node names no address in TLS; the certificate holds the peer's name as well.
  const client = new Client(peer.url.replace('grpcs://', ''), tls, { 'grpc.ssl_target_name_override': name });
  const gateway = connect({
    client,
    hash: hash.sha256,
    identity: { mspId, credentials: file(`${organisation}/${who}/msp/signcerts/cert.pem`) },
    signer: signers.newPrivateKeySigner(createPrivateKey(file(`${organisation}/${who}/msp/keystore/key.pem`))),
    evaluateOptions: within(5),
    endorseOptions: within(15),
    submitOptions: within(5),
    // An accepted transaction may still be lost when the orderers elect another leader. The timeout ends the wait.
    commitStatusOptions: within(network.commitSeconds),
  });
  try {
    return await use(gateway.getNetwork(network.channel));
  } finally {
    gateway.close();
    client.close();
  }
}

async function transact(organisation, verb, name, ...args) {
  const answer = await withGateway(organisation, async (channel) => {
    const contract = channel.getContract(network.chaincode);
    if (verb === 'submit') return contract.submitTransaction(name, ...args);
    if (verb === 'evaluate') return contract.evaluateTransaction(name, ...args);
    throw new Error(`say submit or evaluate, not ${verb}`);
  });
  console.log(`${organisation} ${verb} ${[name, ...args].join(' ')}: ${new TextDecoder().decode(answer)}`);
}

// The messages of the peers and orderers.
process.on('uncaughtException', (error) => {
  console.error(error.message);
  for (const { address, mspId, message } of Array.isArray(error.details) ? error.details : []) console.error(`${address} (${mspId}): ${message}`);
  process.exit(1);
});

const given = process.argv.slice(2);
const [first, last] = [network.organisations[0], network.organisations.at(-1)];
if (!network.chaincode) {
  const info = await withGateway(first, (channel) => channel.getContract('qscc').evaluateTransaction('GetChainInfo', network.channel));
  console.log(`no chaincode is deployed; ${first} answers for channel ${network.channel} with ${info.length} bytes of chain info`);
} else if (given.length > 0) {
  await transact(...given);
} else {
  await transact(first, 'submit', 'put', 'name', 'satoshi');
  await transact(last, 'evaluate', 'get', 'name');
}
