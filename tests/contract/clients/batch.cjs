// openai-node against a batch server: argv[2] is the folder that it is installed in.
const { OpenAI, toFile } = require(`${process.argv[2]}/node_modules/openai`);

async function main() {
  const client = new OpenAI({ maxRetries: 0 });
  const lines = ["a", "b"].map((name) =>
    JSON.stringify({ custom_id: name, method: "POST", url: "/v1/chat/completions",
      body: { model: "chat-1", messages: [{ role: "user", content: name }] } }));
  const upload = await toFile(Buffer.from(lines.join("\n") + "\n"), "in.jsonl");
  const file = await client.files.create({ file: upload, purpose: "batch" });
  await client.files.waitForProcessing(file.id, { pollInterval: 50, maxWait: 60_000 });
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
  for (let tries = 0; batch.status !== "completed" && tries < 600; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    batch = await client.batches.retrieve(batch.id);
  }
  const output = await (await client.files.content(batch.output_file_id)).text();
  const listed = [];
  for await (const each of client.batches.list({ limit: 1 })) listed.push(each.id);
  const refused = await client.files.retrieve("file-of-nobody").catch((error) => error);
  const model = await client.models.retrieve("chat-1").catch((error) => error);
  console.log(JSON.stringify({ status: batch.status, counts: batch.request_counts, listed,
    names: output.trim().split("\n").map((line) => JSON.parse(line).custom_id).sort(),
    refused: [refused.status, refused.message], model: model.id ?? model.status, id: batch.id }));
}

main();
