import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.models.batches.Batch;
import com.openai.models.batches.BatchCreateParams;
import com.openai.models.files.FileCreateParams;
import com.openai.models.files.FileObject;
import com.openai.models.files.FilePurpose;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** openai-java against a batch server; every object is validated against what the SDK knows. */
class BatchRun {
  public static void main(String[] arguments) throws Exception {
    OpenAIClient client = OpenAIOkHttpClient.fromEnv();
    StringBuilder lines = new StringBuilder();
    for (String name : new String[] {"a", "b"}) {
      lines.append("{\"custom_id\":\"" + name + "\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",")
          .append("\"body\":{\"model\":\"chat-1\",\"messages\":[{\"role\":\"user\",\"content\":\"" + name + "\"}]}}\n");
    }
    Path path = Files.writeString(Files.createTempFile("in", ".jsonl"), lines);
    FileObject file = client.files()
        .create(FileCreateParams.builder().file(path).purpose(FilePurpose.BATCH).build()).validate();
    Batch batch = client.batches().create(BatchCreateParams.builder()
        .inputFileId(file.id())
        .endpoint(BatchCreateParams.Endpoint.V1_CHAT_COMPLETIONS)
        .completionWindow(BatchCreateParams.CompletionWindow._24H)
        .build()).validate();
    for (int tries = 0; tries < 600 && !batch.status().equals(Batch.Status.COMPLETED); tries++) {
      Thread.sleep(50);
      batch = client.batches().retrieve(batch.id()).validate();
    }
    String output = new String(
        client.files().content(batch.outputFileId().get()).body().readAllBytes(), StandardCharsets.UTF_8);
    System.out.println(batch.status() + " " + batch.requestCounts().get().completed() + " "
        + file.status() + " " + output.lines().count());
    System.exit(0);
  }
}
