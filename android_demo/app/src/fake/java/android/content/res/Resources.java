package android.content.res;

import android.util.DisplayMetrics;

import java.io.File;
import java.lang.reflect.Field;

import javax.xml.parsers.DocumentBuilderFactory;

import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

/** The app's own strings, by the ids that aapt gave them; property `strings` is their file. */
public class Resources {
    public int getDimensionPixelSize(int id) {
        return 48;
    }

    public DisplayMetrics getDisplayMetrics() {
        return new DisplayMetrics();
    }

    public static String string(int id) {
        try {
            for (Field field : Class.forName("dev.dsaedge.demo.R$string").getFields()) {
                if (field.getInt(null) == id) {
                    return named(field.getName());
                }
            }
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
        throw new IllegalStateException("no string " + id);
    }

    private static String named(String name) throws Exception {
        NodeList all = DocumentBuilderFactory.newInstance().newDocumentBuilder()
                .parse(new File(System.getProperty("strings"))).getElementsByTagName("string");
        for (int i = 0; i < all.getLength(); i++) {
            if (((Element) all.item(i)).getAttribute("name").equals(name)) {
                return all.item(i).getTextContent();
            }
        }
        throw new IllegalStateException("no string " + name);
    }
}
