"""How mount namespaces are dumped and restored.  Nothing here registers: it is imported when it is needed."""
