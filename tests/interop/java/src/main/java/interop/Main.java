package interop;

import com.google.gson.JsonObject;
import com.google.gson.JsonArray;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Map;

/**
 * The cases with grpc-java. Started with --target host:port --session id, it reads the names of cases from its standard
 * input, one a line, and answers each with a line of JSON; the line "?" is answered with the names of its cases.
 */
final class Main {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> given = Map.of(arguments[0], arguments[1], arguments[2], arguments[3]);
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (String name = lines.readLine(); name != null; name = lines.readLine()) {
      var told = new JsonObject();
      told.addProperty("case", name);
      if (name.equals("?")) {
        var names = new JsonArray();
        Cases.ALL.keySet().forEach(names::add);
        told.add("cases", names);
      } else {
        String failure = run(Cases.ALL.get(name), given.get("--target"), given.get("--session"));
        told.addProperty("ok", failure.isEmpty());
        told.addProperty("detail", failure);
      }
      System.out.println(told);
    }
    System.exit(0);
  }

  /** What went wrong, on a connection of the case's own; empty: nothing. */
  private static String run(Cases.Case body, String target, String session) {
    try (var connection = new Connection(target, session)) {
      body.run(connection);
      return "";
    } catch (Throwable failure) {
      var text = new StringWriter();
      failure.printStackTrace(new PrintWriter(text));
      return text.toString();
    }
  }
}
